/* What the board gives the application: its GIC, tick, counter and power switch. The layout is QEMU's `virt`. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#define TICK_INTERRUPT 27 /* the virtual timer's PPI */
#define UART_INTERRUPT 33 /* SPI 1 */

/* Interrupt priorities as the GIC takes them: five bits, in the upper part of the byte. The tick is the lowest. */
#define TICK_PRIORITY (30 << 3)
#define UART_PRIORITY (20 << 3)

/* Which GIC this program was built for. */
extern const char gic_name[];

/* Brings the distributor and this core's interface up, everything disabled. */
void gic_start(void);
/* Lets an interrupt through to this core, at a priority. */
void gic_enable(uint32_t interrupt, uint8_t priority);

/* The virtual counter, and its frequency in Hz. */
uint64_t counter(void);
uint64_t counter_frequency(void);
/* Counter ticks as microseconds. */
uint64_t microseconds(uint64_t ticks);

/* Counts the vector registers that change while `ticks` pass; anything but 0 is somebody's bug. */
uint64_t float_registers_lost(uint64_t seed, uint64_t ticks);

/* Powers the machine off (PSCI SYSTEM_OFF by HVC). */
void power_off(void) __attribute__((noreturn));

static inline void write32(uintptr_t address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

static inline uint32_t read32(uintptr_t address)
{
    return *(volatile uint32_t *)address;
}

static inline void write8(uintptr_t address, uint8_t value)
{
    *(volatile uint8_t *)address = value;
}

#endif
