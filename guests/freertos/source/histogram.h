/* The periods of a periodic task: how many, how long, how many too late. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

/* The period that is expected, in microseconds. */
#define EXPECTED_PERIOD 10000
/* A period is late when it is this much longer, in microseconds. */
#define LATE_AFTER 1000

/* Takes one period, in microseconds. From one task only. */
void histogram_add(uint64_t period);
/* Forgets all periods. */
void histogram_reset(void);
/* Prints the summary line and the distribution. */
void histogram_print(void);

#endif
