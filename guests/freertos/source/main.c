/* A small FreeRTOS application to see how well a guest keeps its time: periodic tasks and a prompt. */
#include <stddef.h>
#include <string.h>

#include "FreeRTOS.h"
#include "board.h"
#include "console.h"
#include "histogram.h"
#include "periodic.h"
#include "task.h"

static void help(void);

static void print_tasks(void)
{
    static const char states[] = "RrBSD"; /* as eTaskState counts them: running, ready, blocked, suspended, deleted */
    static TaskStatus_t statuses[8];
    UBaseType_t count = uxTaskGetSystemState(statuses, 8, NULL);
    struct counts counts = periodic_counts();

    console_print("name             state priority stack left\n");
    for (UBaseType_t i = 0; i < count; i++) {
        char state[2] = { statuses[i].eCurrentState <= eDeleted ? states[statuses[i].eCurrentState] : '?', '\0' };

        console_print("%-16s %-5s %8lu %10lu\n", statuses[i].pcTaskName, state, statuses[i].uxCurrentPriority,
                      (uint64_t)statuses[i].usStackHighWaterMark * sizeof(StackType_t));
    }
    console_print("queue: %lu sent, %lu received, %lu lost\n", counts.sent, counts.received, counts.lost);
    console_print("float registers lost: %lu\n", counts.float_lost);
    console_print("heartbeats: %lu\n", counts.beats);
}

static uint64_t start;

/* The tick count beside the counter: how well the tick keeps its rate. */
static void print_uptime(void)
{
    uint64_t ticks = xTaskGetTickCount();
    uint64_t milliseconds = microseconds(counter() - start) / 1000;

    console_print("uptime: %lu.%03lu s by ticks, %lu.%03lu s by the counter\n", ticks / 1000, ticks % 1000,
                  milliseconds / 1000, milliseconds % 1000);
}

static void beats_on(void)
{
    periodic_print_beats(1);
}

static void beats_off(void)
{
    periodic_print_beats(0);
}

static void off(void)
{
    console_print("freertos: off\n");
    power_off();
}

static const struct command {
    const char *name;
    void (*run)(void);
    const char *help;
} commands[] = {
    { "help", help, "this list" },
    { "hist", histogram_print, "the high task's periods since the last reset" },
    { "reset", histogram_reset, "forget the periods" },
    { "tasks", print_tasks, "tasks, queue and counts" },
    { "uptime", print_uptime, "time since the start" },
    { "beat on", beats_on, "print a line every second" },
    { "beat off", beats_off, "stop that" },
    { "off", off, "power off" },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
    for (size_t i = 0; i < COMMANDS; i++)
        console_print("  %-9s %s\n", commands[i].name, commands[i].help);
}

static void run_line(const char *line)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(line, commands[i].name) == 0) {
            commands[i].run();
            return;
        }
    if (*line != '\0')
        console_print("unknown command: %s (try help)\n", line);
}

static void prompt_task(void *unused)
{
    (void)unused;
    console_print("FreeRTOS %s on %s, tick %u Hz\n", tskKERNEL_VERSION_NUMBER, gic_name, configTICK_RATE_HZ);
    for (;;)
        run_line(console_read_line("freertos> "));
}

int main(void)
{
    start = counter();
    gic_start();
    console_start();
    periodic_start();
    xTaskCreate(prompt_task, "prompt", 2 * configMINIMAL_STACK_SIZE, NULL, PROMPT_PRIORITY, NULL);
    vTaskStartScheduler();
    return 0;
}
