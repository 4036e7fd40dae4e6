#include "histogram.h"

#include <stddef.h>
#include <string.h>

#include "FreeRTOS.h"
#include "console.h"
#include "task.h"

/* Periods are counted in bins of so many microseconds; the last bin has all that are longer. */
#define BIN_WIDTH 5
#define BINS 4096

struct histogram {
    uint64_t samples;
    uint64_t shortest;
    uint64_t longest;
    uint64_t late;
    uint32_t bins[BINS];
};

/* The periods as they come, and a copy to print from while more of them come. */
static struct histogram current, printed;

/* The rows that are printed: periods from here, in microseconds, up to the next row. */
static const uint32_t rows[] = { 0, 5000, 9000, 9500, 9900, 9950, 10050, 10100, 10500, 11000, 15000, 20000 };
#define ROWS (sizeof(rows) / sizeof(rows[0]))

void histogram_add(uint64_t period)
{
    uint64_t bin = period / BIN_WIDTH;

    taskENTER_CRITICAL();
    if (current.samples == 0 || period < current.shortest)
        current.shortest = period;
    if (period > current.longest)
        current.longest = period;
    current.late += period > EXPECTED_PERIOD + LATE_AFTER;
    current.bins[bin < BINS ? bin : BINS - 1]++;
    current.samples++;
    taskEXIT_CRITICAL();
}

void histogram_reset(void)
{
    taskENTER_CRITICAL();
    memset(&current, 0, sizeof(current));
    taskEXIT_CRITICAL();
}

/* The middle of the bin that has the median, kept between the extremes. */
static uint64_t median(const struct histogram *histogram)
{
    uint64_t seen = 0, value;
    size_t bin = 0;

    while (bin < BINS - 1 && (seen += histogram->bins[bin]) * 2 < histogram->samples)
        bin++;
    value = bin * BIN_WIDTH + BIN_WIDTH / 2;
    if (value < histogram->shortest)
        return histogram->shortest;
    return value > histogram->longest ? histogram->longest : value;
}

static uint64_t count_row(const struct histogram *histogram, size_t row)
{
    size_t last = row + 1 < ROWS ? rows[row + 1] / BIN_WIDTH : BINS;
    uint64_t count = 0;

    for (size_t bin = rows[row] / BIN_WIDTH; bin < last; bin++)
        count += histogram->bins[bin];
    return count;
}

static void print_row(const struct histogram *histogram, size_t row)
{
    static const char marks[] = "########################################";
    uint64_t count = count_row(histogram, row);
    uint64_t length = histogram->samples == 0 ? 0 : (count * 40 + histogram->samples - 1) / histogram->samples;

    if (count != 0)
        console_print("  from %5u us: %8lu %s\n", rows[row], count, marks + 40 - length);
}

void histogram_print(void)
{
    taskENTER_CRITICAL();
    memcpy(&printed, &current, sizeof(printed));
    taskEXIT_CRITICAL();
    console_print("period: %lu samples, min/median/max %lu/%lu/%lu us, late > 1 ms: %lu\n", printed.samples,
                  printed.shortest, median(&printed), printed.longest, printed.late);
    for (size_t row = 0; row < ROWS; row++)
        print_row(&printed, row);
}
