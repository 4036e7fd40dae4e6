/* The application's periodic tasks, the queue between them, and the heartbeat timer. */
#ifndef PERIODIC_TASKS_H
#define PERIODIC_TASKS_H

#include <stdint.h>

/* Task priorities; the kernel's timer task has 5. */
#define PROMPT_PRIORITY 1
#define LOW_PRIORITY 2
#define HIGH_PRIORITY 6

/* What the tasks have counted. */
struct counts {
    uint64_t sent;      /* messages the high task put into the queue */
    uint64_t received;  /* messages the low task took from it, in order */
    uint64_t lost;      /* messages that did not fit or came out of order */
    uint64_t float_lost; /* vector registers that changed in between */
    uint64_t beats;     /* heartbeats of the software timer, one a second */
};

/* Makes tasks, queue and timer. Once, before the scheduler starts. */
void periodic_start(void);
/* What was counted up to now. */
struct counts periodic_counts(void);
/* Whether heartbeats print a line. */
void periodic_print_beats(int on);

#endif
