/* The tick by the virtual timer, the way of an interrupt, the counter, power off, and what a crash does. */
#include "board.h"

#include "FreeRTOS.h"
#include "console.h"
#include "task.h"

static uint64_t tick_length;
static uint64_t next_tick;

void tick_start(void)
{
    tick_length = counter_frequency() / configTICK_RATE_HZ;
    next_tick = counter() + tick_length;
    gic_enable(TICK_INTERRUPT, TICK_PRIORITY);
    __asm volatile("msr cntv_cval_el0, %0\n msr cntv_ctl_el0, %1\n isb" ::"r"(next_tick), "r"(1UL));
}

/* The next tick counts from the last one and not from now: late ticks do not make the clock late. Writing the compare
 * value alone ends the interrupt. */
void tick_next(void)
{
    next_tick += tick_length;
    __asm volatile("msr cntv_cval_el0, %0\n isb" ::"r"(next_tick));
}

void vApplicationIRQHandler(uint32_t acknowledged)
{
    switch (acknowledged & 0x3ff) {
    case TICK_INTERRUPT:
        FreeRTOS_Tick_Handler();
        break;
    case UART_INTERRUPT:
        console_interrupt();
        break;
    default: /* spurious */
        break;
    }
}

uint64_t counter(void)
{
    uint64_t value;

    __asm volatile("isb\n mrs %0, cntvct_el0" : "=r"(value));
    return value;
}

uint64_t counter_frequency(void)
{
    uint64_t value;

    __asm volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

uint64_t microseconds(uint64_t ticks)
{
    uint64_t frequency = counter_frequency();

    return ticks / frequency * 1000000 + ticks % frequency * 1000000 / frequency;
}

void power_off(void)
{
    register uint64_t function __asm("x0") = 0x84000008;

    __asm volatile("hvc #0" : "+r"(function)::"x1", "x2", "x3", "memory");
    for (;;)
        __asm volatile("wfi");
}

void crashed(uint64_t syndrome, uint64_t link, uint64_t address)
{
    console_panic("\nfreertos: CRASH: ESR %lx ELR %lx FAR %lx\n", syndrome, link, address);
    power_off();
}

void assertion_failed(const char *file, int line)
{
    console_panic("\nfreertos: CRASH: assertion at %s:%u\n", file, (unsigned)line);
    power_off();
}

void vApplicationStackOverflowHook(TaskHandle_t task, char *name)
{
    (void)task;
    console_panic("\nfreertos: CRASH: stack overflow in %s\n", name);
    power_off();
}

void vApplicationMallocFailedHook(void)
{
    console_panic("\nfreertos: CRASH: out of heap\n");
    power_off();
}

/* With nothing to do the core sleeps; under a hypervisor with shared cores somebody else has it meanwhile. */
void vApplicationIdleHook(void)
{
    __asm volatile("dsb sy\n wfi");
}
