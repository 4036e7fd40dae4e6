#include "periodic.h"

#include "FreeRTOS.h"
#include "board.h"
#include "console.h"
#include "histogram.h"
#include "queue.h"
#include "task.h"
#include "timers.h"

#define HIGH_PERIOD pdMS_TO_TICKS(10)
#define LOW_PERIOD pdMS_TO_TICKS(100)
#define BEAT_PERIOD pdMS_TO_TICKS(1000)
/* The low task wakes for about ten messages; room for as many again and more, should it be late. */
#define QUEUE_LENGTH 64
/* For how long each task holds a pattern in the vector registers: part of a microsecond up to some ticks. */
#define HIGH_HOLD 100
#define LOW_HOLD 200000

static QueueHandle_t queue;
static struct counts counts;
static volatile int beats_print;

/* Every 10 ms: measures its own period and sends its number. */
static void high_task(void *unused)
{
    TickType_t wake = xTaskGetTickCount();
    uint64_t last = counter(), now;

    (void)unused;
    for (;;) {
        xTaskDelayUntil(&wake, HIGH_PERIOD);
        now = counter();
        histogram_add(microseconds(now - last));
        last = now;
        counts.float_lost += float_registers_lost(now, HIGH_HOLD);
        if (xQueueSend(queue, &counts.sent, 0) != pdPASS)
            counts.lost++;
        counts.sent++;
    }
}

/* Every 100 ms: takes what the high task sent and looks whether it is in order. */
static void low_task(void *unused)
{
    TickType_t wake = xTaskGetTickCount();
    uint64_t number, expected = 0;

    (void)unused;
    for (;;) {
        xTaskDelayUntil(&wake, LOW_PERIOD);
        /* Long enough for ticks and the high task to come in between: on `virt` 3.2 ms. */
        counts.float_lost += float_registers_lost(~wake, LOW_HOLD);
        while (xQueueReceive(queue, &number, 0) == pdPASS) {
            counts.lost += number != expected;
            counts.received++;
            expected = number + 1;
        }
    }
}

static void beat(TimerHandle_t timer)
{
    (void)timer;
    counts.beats++;
    if (beats_print)
        console_notice("heartbeat %lu at tick %lu", counts.beats, xTaskGetTickCount());
}

struct counts periodic_counts(void)
{
    struct counts copy;

    taskENTER_CRITICAL();
    copy = counts;
    taskEXIT_CRITICAL();
    return copy;
}

void periodic_print_beats(int on)
{
    beats_print = on;
}

void periodic_start(void)
{
    queue = xQueueCreate(QUEUE_LENGTH, sizeof(uint64_t));
    xTaskCreate(high_task, "high", configMINIMAL_STACK_SIZE, NULL, HIGH_PRIORITY, NULL);
    xTaskCreate(low_task, "low", configMINIMAL_STACK_SIZE, NULL, LOW_PRIORITY, NULL);
    xTimerStart(xTimerCreate("beat", BEAT_PERIOD, pdTRUE, NULL, beat), 0);
}
