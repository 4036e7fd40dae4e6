/* GICv2: distributor and memory-mapped CPU interface (Arm IHI 0048). */
#include "board.h"

#define DISTRIBUTOR 0x08000000UL
#define CPU_INTERFACE 0x08010000UL

const char gic_name[] = "GICv2";

void gic_start(void)
{
    write32(DISTRIBUTOR, 0);
    write32(DISTRIBUTOR + 0x180, 0xffffffff);
    write32(DISTRIBUTOR, 1);
    write32(CPU_INTERFACE + 0x4, 0xff); /* PMR: all priorities */
    write32(CPU_INTERFACE + 0x8, 0);    /* BPR: all bits preempt */
    write32(CPU_INTERFACE, 1);
}

void gic_enable(uint32_t interrupt, uint8_t priority)
{
    write8(DISTRIBUTOR + 0x400 + interrupt, priority);
    if (interrupt >= 32)
        write8(DISTRIBUTOR + 0x800 + interrupt, 1); /* ITARGETSR: core 0 */
    write32(DISTRIBUTOR + 0x100 + interrupt / 32 * 4, 1u << interrupt % 32);
}
