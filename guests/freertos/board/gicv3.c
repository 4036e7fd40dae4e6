/* GICv3: distributor, the first core's redistributor, CPU interface by system registers (Arm IHI 0069). */
#include "board.h"

#define DISTRIBUTOR 0x08000000UL
#define REDISTRIBUTOR 0x080a0000UL
#define SGI_FRAME (REDISTRIBUTOR + 0x10000UL)

const char gic_name[] = "GICv3";

static void redistributor_wake(void)
{
    write32(REDISTRIBUTOR + 0x14, read32(REDISTRIBUTOR + 0x14) & ~2u); /* WAKER.ProcessorSleep */
    while (read32(REDISTRIBUTOR + 0x14) & 4u) {
    }
}

static void cpu_interface_start(void)
{
    __asm volatile("msr s3_0_c12_c12_5, %0\n isb" ::"r"(7UL));    /* ICC_SRE_EL1 */
    __asm volatile("msr s3_0_c4_c6_0, %0" ::"r"(0xffUL));         /* ICC_PMR_EL1: all priorities */
    __asm volatile("msr s3_0_c12_c12_3, %0" ::"r"(0UL));          /* ICC_BPR1_EL1: all bits preempt */
    __asm volatile("msr s3_0_c12_c12_7, %0\n isb" ::"r"(1UL));    /* ICC_IGRPEN1_EL1 */
}

void gic_start(void)
{
    write32(DISTRIBUTOR, 0x12); /* ARE, group 1 */
    while (read32(DISTRIBUTOR) & 0x80000000u) {
    }
    redistributor_wake();
    write32(SGI_FRAME + 0x180, 0xffffffff);
    write32(SGI_FRAME + 0x80, 0xffffffff); /* all in group 1 */
    cpu_interface_start();
}

void gic_enable(uint32_t interrupt, uint8_t priority)
{
    uintptr_t frame = interrupt < 32 ? SGI_FRAME : DISTRIBUTOR;
    uintptr_t word = interrupt / 32 * 4;
    uint32_t bit = 1u << interrupt % 32;

    write32(frame + 0x80 + word, read32(frame + 0x80 + word) | bit); /* group 1 */
    write8(frame + 0x400 + interrupt, priority);
    if (interrupt >= 32)
        *(volatile uint64_t *)(DISTRIBUTOR + 0x6000 + 8UL * interrupt) = 0; /* IROUTER: core 0 */
    write32(frame + 0x100 + word, bit);
}
