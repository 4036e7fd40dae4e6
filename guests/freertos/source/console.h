/* The console: formatted output that is not mixed between tasks, and lines of input with a prompt that stays whole. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdint.h>

#define CONSOLE_LINE_SIZE 80

/* Makes the lock and the input queue, and lets the receive interrupt through. Once, before the scheduler starts. */
void console_start(void);
/* Prints; conversions: %s, %u, %lu, %x, %lx, with a width and '-' or '0' before it. */
void console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints a line above the prompt and the input so far. For other tasks than the prompt's. */
void console_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints at once, lock or not: for what comes just before the end. */
void console_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Shows the prompt and waits for a line; without its line end. The next call overwrites it. */
const char *console_read_line(const char *prompt);
/* Takes what the UART received; from the interrupt handler. */
void console_interrupt(void);

#endif
