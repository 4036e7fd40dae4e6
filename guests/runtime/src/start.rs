//! The first instructions of every core and the way from there to the guest's main function.
//!
//! The boot core enters with the MMU off and the device tree's address in x0 (0 where the loader is QEMU's for ELF
//! files, which leaves the tree at the start of RAM). Secondary cores enter by PSCI CPU_ON with their index in x0.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use crate::{MAX_CORES, Machine, console, heap, machine, mmu, psci, smp, vectors};

/// Bytes of stack for each core.
const STACK_SIZE: usize = 32 * 1024;

/// Where QEMU leaves the device tree when it loads an ELF file: at the start of RAM.
const TREE_AT_START_OF_MEMORY: usize = 0x4000_0000;

/// One stack for each core.
#[repr(C, align(16))]
struct Stacks(UnsafeCell<[[u8; STACK_SIZE]; MAX_CORES]>);

// SAFETY: each core uses its own stack only, by its index.
unsafe impl Sync for Stacks {}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninitialized")]
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK_SIZE]; MAX_CORES]));

unsafe extern "Rust" {
    fn guest_main(machine: &Machine);
}

global_asm!(
    r#"
.section .text.entry, "ax"
.global _start
_start:
    mov     x19, x0
    msr     daifset, #0xf
    adrp    x1, __bss_start
    add     x1, x1, :lo12:__bss_start
    adrp    x2, __bss_end
    add     x2, x2, :lo12:__bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  mov     x0, #0
    bl      set_stack
    mov     x0, x19
    bl      boot_main
    b       .

// Entered by PSCI CPU_ON, x0 = this core's index. It reads no memory before its caches are on.
.global secondary_start
secondary_start:
    mov     x19, x0
    msr     daifset, #0xf
    bl      enable_translation
    mov     x0, x19
    bl      set_stack
    mov     x0, x19
    bl      secondary_main
    b       .

// x0 = index of this core. Sets SP to the top of its stack; leaves the link register alone.
set_stack:
    msr     spsel, #1
    adrp    x1, {stacks}
    add     x1, x1, :lo12:{stacks}
    mov     x2, #{stack_size}
    add     x0, x0, #1
    madd    x1, x0, x2, x1
    mov     sp, x1
    ret
"#,
    stacks = sym STACKS,
    stack_size = const STACK_SIZE,
);

/// The boot core's way: memory and tables first, then translation, then everything that may use atomics.
#[unsafe(no_mangle)]
extern "C" fn boot_main(tree: usize) -> ! {
    vectors::install();
    let tree = if tree == 0 { TREE_AT_START_OF_MEMORY } else { tree };
    // SAFETY: the loader left a device tree there and nothing writes to it.
    let machine = unsafe { machine::discover(tree) };
    mmu::fill_tables(machine.memory);
    // SAFETY: the tables map all memory and devices at their own addresses.
    unsafe { mmu::enable_translation() };
    console::init(machine.uart);
    heap::init();
    let machine = machine::publish(machine);
    // SAFETY: `entry!` defines it with this signature.
    unsafe { guest_main(machine) };
    psci::system_off()
}

/// The way of every other core, with its translation already on.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(index: usize) -> ! {
    vectors::install();
    smp::run_job(index);
    psci::cpu_off()
}
