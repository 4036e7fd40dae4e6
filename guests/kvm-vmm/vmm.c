/* A minimal virtual machine monitor on KVM, the whole user space of the host that `cargo xtask bench --peers` measures.
 *
 * It is /init. It runs /image (an arm64 Image, with /initrd if there is one and the device tree blob /tree) on a machine
 * laid out like QEMU's `virt`: memory from 0x40000000, the GIC at 0x08000000, a PL011 at 0x09000000. KVM emulates the GIC,
 * the timers and PSCI; the UART is here, which makes it the example of a device in user space. When the guest is off, the
 * host is switched off too. Every failure is one line beginning with "kvm-vmm: ".
 *
 * The kernel's command line says what the guest is given: `vm_gic=2` or `3`, `vm_cpus=N`, `vm_mib=N`; further
 * `vm_small_pages=1` for memory that the host backs with 4 KiB pages only, and `vm_share_image=1` for an image that is
 * mapped copy on write.
 *
 * What does not belong here: making the device tree (xtask/src/bench/peers does), and anything to make KVM look faster or
 * slower than a plain use of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum {
	GICD = 0x08000000,
	GICC = 0x08010000,
	GICR = 0x080a0000,
	UART = 0x09000000,
	UART_END = UART + 0x1000,
	MEMORY = 0x40000000,
	MIB = 1 << 20,
	BLOCK = 2 * MIB,
	MOST_VCPUS = 8,
};

struct vcpu {
	int fd;
	struct kvm_run *run;
};

static int kvm, vm;
static uint8_t *memory;
static size_t memory_size;
static struct vcpu vcpus[MOST_VCPUS];

/* Switches the host off, which ends QEMU. */
static _Noreturn void power_off(void)
{
	tcdrain(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what)
{
	dprintf(STDOUT_FILENO, "kvm-vmm: %s: %s\n", what, errno ? strerror(errno) : "wrong");
	power_off();
}

static int check(int result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

/* ---- The console ---- */

/* The UART's output goes out by whole lines, and the guest waits until they are sent: the host's own UART interrupts must
 * not fall into what the guest measures next. */
static void print(char byte)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static char line[1024];
	static size_t length;

	pthread_mutex_lock(&lock);
	if (byte != '\r')
		line[length++] = byte;
	if (byte == '\n' || length == sizeof line) {
		check(write(STDOUT_FILENO, line, length), "console");
		tcdrain(STDOUT_FILENO);
		length = 0;
	}
	pthread_mutex_unlock(&lock);
}

/* What the guest reads: nothing waits to be received or sent, and the identification that Linux's driver looks for (Arm
 * DDI 0183, 3.3.14 and 3.3.15). */
static uint32_t uart_register(uint64_t offset)
{
	enum { FR = 0x018, FR_EMPTY = 0x90, IDENTIFICATION = 0xfe0 };
	static const uint8_t identification[] = { 0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	if (offset >= IDENTIFICATION)
		return identification[(offset - IDENTIFICATION) / 4];
	return offset == FR ? FR_EMPTY : 0;
}

/* A PL011 as far as polled output needs it. */
static void access_uart(struct kvm_run *run)
{
	uint64_t offset = run->mmio.phys_addr - UART;
	uint32_t value;

	if (!run->mmio.is_write) {
		value = uart_register(offset);
		memcpy(run->mmio.data, &value, sizeof value);
	} else if (offset == 0) {
		print((char)run->mmio.data[0]);
	}
}

/* ---- Running ---- */

static _Noreturn void refuse_exit(struct kvm_run *run)
{
	if (run->exit_reason == KVM_EXIT_MMIO)
		dprintf(STDOUT_FILENO, "kvm-vmm: access to nothing at %#llx\n", run->mmio.phys_addr);
	else
		dprintf(STDOUT_FILENO, "kvm-vmm: exit reason %u\n", run->exit_reason);
	power_off();
}

static void *run_vcpu(void *argument)
{
	struct vcpu *vcpu = argument;
	struct kvm_run *run = vcpu->run;

	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			fail("KVM_RUN");
		}
		if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr >= UART && run->mmio.phys_addr < UART_END)
			access_uart(run);
		else if (run->exit_reason == KVM_EXIT_SYSTEM_EVENT)
			power_off();
		else
			refuse_exit(run);
	}
}

/* ---- Memory ---- */

static int open_file(const char *path, size_t *size)
{
	struct stat status;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file >= 0) {
		check(fstat(file, &status), path);
		*size = (size_t)status.st_size;
	}
	return file;
}

/* Anonymous memory, aligned so that the host can back it with huge pages, as it does by default. */
static void make_memory(size_t mib)
{
	uint8_t *area;
	struct kvm_userspace_memory_region region = { .guest_phys_addr = MEMORY };

	memory_size = mib * MIB;
	area = mmap(NULL, memory_size + BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		fail("guest memory");
	memory = (uint8_t *)(((uintptr_t)area + BLOCK - 1) & ~(uintptr_t)(BLOCK - 1));
	if (getenv("vm_small_pages"))
		check(madvise(memory, memory_size, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
	region.memory_size = memory_size;
	region.userspace_addr = (uintptr_t)memory;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

/* Copies a file, if there is one, into the guest's memory. */
static void load(const char *path, size_t offset)
{
	size_t size, done = 0;
	int file = open_file(path, &size);

	if (file < 0)
		return;
	if (offset > memory_size || size > memory_size - offset)
		fail(path);
	while (done < size) {
		ssize_t count = read(file, memory + offset + done, size - done);
		if (count <= 0)
			fail(path);
		done += (size_t)count;
	}
	close(file);
}

/* Where the image belongs, as its header says (Linux, Documentation/arm64/booting.rst); as with QEMU, not in the first
 * 2 MiB. */
static size_t image_offset(int file, size_t size)
{
	struct { uint32_t code[2]; uint64_t text_offset, image_size, flags, reserved[3]; uint32_t magic, more; } header;

	if (read(file, &header, sizeof header) != sizeof header || header.magic != 0x644d5241)
		fail("/image: header");
	if (header.text_offset < BLOCK)
		header.text_offset += BLOCK;
	if (header.text_offset % 4096 || header.text_offset > memory_size || size > memory_size - header.text_offset)
		fail("/image: place");
	return header.text_offset;
}

/* Copies the image into the guest's memory, as is usual, or maps it copy on write, so that its pages are shared with all
 * who map the file. Returns where the guest begins. */
static uint64_t load_image(void)
{
	size_t size, offset;
	int file = check(open_file("/image", &size), "/image");

	offset = image_offset(file, size);
	if (!getenv("vm_share_image"))
		load("/image", offset);
	else if (mmap(memory + offset, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) == MAP_FAILED)
		fail("/image: map");
	return MEMORY + offset;
}

/* ---- The machine ---- */

static void set_attribute(int device, uint32_t group, uint64_t attribute, uint64_t value)
{
	struct kvm_device_attr attr = { .group = group, .attr = attribute, .addr = (uintptr_t)&value };

	check(ioctl(device, KVM_SET_DEVICE_ATTR, &attr), "KVM_SET_DEVICE_ATTR");
}

static void make_gic(unsigned int version)
{
	struct kvm_create_device device = { .type = version == 2 ? KVM_DEV_TYPE_ARM_VGIC_V2 : KVM_DEV_TYPE_ARM_VGIC_V3 };

	check(ioctl(vm, KVM_CREATE_DEVICE, &device), "KVM_CREATE_DEVICE");
	if (version == 2) {
		set_attribute((int)device.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_DIST, GICD);
		set_attribute((int)device.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V2_ADDR_TYPE_CPU, GICC);
	} else {
		set_attribute((int)device.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, GICD);
		set_attribute((int)device.fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST, GICR);
	}
	set_attribute((int)device.fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, 0);
}

/* All but the first vCPU wait for PSCI CPU_ON. */
static void make_vcpu(unsigned int index, int run_size)
{
	struct vcpu *vcpu = &vcpus[index];
	struct kvm_vcpu_init init;

	vcpu->fd = check(ioctl(vm, KVM_CREATE_VCPU, index), "KVM_CREATE_VCPU");
	vcpu->run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		fail("kvm_run");
	check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), "KVM_ARM_PREFERRED_TARGET");
	init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
	if (index > 0)
		init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
	check(ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT");
}

static void set_register(uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	check(ioctl(vcpus[0].fd, KVM_SET_ONE_REG, &reg), "KVM_SET_ONE_REG");
}

/* A register of the kvm_regs, by its offset. */
static void set_core_register(uint64_t offset, uint64_t value)
{
	set_register(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t), value);
}

/* A number of the kernel's command line: what the kernel does not know becomes init's environment. */
static unsigned int number(const char *name, unsigned int least, unsigned int most)
{
	const char *text = getenv(name);
	unsigned long value = text ? strtoul(text, NULL, 10) : 0;

	if (value < least || value > most)
		fail(name);
	return (unsigned int)value;
}

int main(void)
{
	unsigned int vcpu_count = number("vm_cpus", 1, MOST_VCPUS);
	uint64_t entry;
	size_t tree;
	pthread_t thread;

	kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	make_memory(number("vm_mib", 16, 1024));

	/* The initrd lies in the middle, the tree in the last block. */
	tree = memory_size - BLOCK;
	load("/tree", tree);
	load("/initrd", memory_size / 2);
	entry = load_image();

	/* The guest's counter begins with its first vCPU. */
	for (unsigned int index = 0; index < vcpu_count; index++)
		make_vcpu(index, check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE"));
	make_gic(number("vm_gic", 2, 3));
	/* No random numbers by SMCCC: no other machine in the comparison has them, and Linux then has less to do. */
	set_register(KVM_REG_ARM_STD_BMAP, 0);
	set_core_register(offsetof(struct kvm_regs, regs.pc), entry);
	set_core_register(offsetof(struct kvm_regs, regs.regs[0]), MEMORY + tree);

	for (unsigned int index = 1; index < vcpu_count; index++)
		if (pthread_create(&thread, NULL, run_vcpu, &vcpus[index]))
			fail("thread");
	run_vcpu(&vcpus[0]);
}
