#include "console.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "FreeRTOS.h"
#include "board.h"
#include "queue.h"
#include "semphr.h"

/* PL011 registers (Arm DDI 0183). */
#define UART 0x09000000UL
#define UART_DATA (UART + 0x00)
#define UART_FLAGS (UART + 0x18)
#define UART_LINE_CONTROL (UART + 0x2c)
#define UART_CONTROL (UART + 0x30)
#define UART_INTERRUPT_MASK (UART + 0x38)
#define UART_INTERRUPT_CLEAR (UART + 0x44)
#define FLAG_RECEIVE_EMPTY (1u << 4)
#define FLAG_TRANSMIT_FULL (1u << 5)
#define INTERRUPT_RECEIVE (1u << 4)
#define INTERRUPT_RECEIVE_TIMEOUT (1u << 6)

static SemaphoreHandle_t lock;
static QueueHandle_t received;

/* The line being typed; `prompt` is set while one is on the screen. All under the lock. */
static const char *prompt;
static char line[CONSOLE_LINE_SIZE];
static size_t line_length;

static void put(char character)
{
    while (read32(UART_FLAGS) & FLAG_TRANSMIT_FULL) {
    }
    write32(UART_DATA, (uint8_t)character);
}

static void put_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

static void put_padded(const char *text, int width, int left, char fill)
{
    int padding = width - (int)strlen(text);

    for (; !left && padding > 0; padding--)
        put(fill);
    put_text(text);
    for (; padding > 0; padding--)
        put(' ');
}

/* Writes a number to the end of `digits` and returns where it starts. */
static const char *number_text(uint64_t number, unsigned base, char digits[24])
{
    char *start = digits + 23;

    *start = '\0';
    do {
        *--start = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    return start;
}

/* One conversion, from behind the '%'; returns where the format goes on. */
static const char *convert(const char *format, va_list *arguments)
{
    int left = 0, width = 0, is_long = 0;
    char fill = ' ', digits[24];
    uint64_t number;

    for (; *format == '-' || *format == '0'; format++) {
        left |= *format == '-';
        fill = *format == '0' ? '0' : fill;
    }
    for (; *format >= '0' && *format <= '9'; format++)
        width = width * 10 + (*format - '0');
    for (; *format == 'l'; format++)
        is_long = 1;
    switch (*format) {
    case 's':
        put_padded(va_arg(*arguments, const char *), width, left, ' ');
        break;
    case 'u':
    case 'x':
        number = is_long ? va_arg(*arguments, uint64_t) : va_arg(*arguments, uint32_t);
        put_padded(number_text(number, *format == 'u' ? 10 : 16, digits), width, left, fill);
        break;
    default:
        put(*format);
        break;
    }
    return *format == '\0' ? format : format + 1;
}

static void print_list(const char *format, va_list *arguments)
{
    while (*format != '\0') {
        char character = *format++;

        if (character == '%')
            format = convert(format, arguments);
        else if (character == '\n')
            put_text("\n");
        else
            put(character);
    }
}

void console_print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    xSemaphoreTake(lock, portMAX_DELAY);
    print_list(format, &arguments);
    xSemaphoreGive(lock);
    va_end(arguments);
}

void console_panic(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_list(format, &arguments);
    va_end(arguments);
}

/* Blanks the prompt and what is typed, so that a notice can take their place. */
static void hide_prompt(void)
{
    put('\r');
    for (size_t column = strlen(prompt) + line_length; column > 0; column--)
        put(' ');
    put('\r');
}

static void show_prompt(void)
{
    put_text(prompt);
    for (size_t column = 0; column < line_length; column++)
        put(line[column]);
}

void console_notice(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    xSemaphoreTake(lock, portMAX_DELAY);
    if (prompt != NULL)
        hide_prompt();
    print_list(format, &arguments);
    put_text("\n");
    if (prompt != NULL)
        show_prompt();
    xSemaphoreGive(lock);
    va_end(arguments);
}

/* Whether a character belongs to an escape sequence (an arrow key, or a terminal's answer to somebody's question). */
static int is_escape(char character)
{
    static enum { TEXT, ESCAPE, SEQUENCE } state;
    int part = state != TEXT || character == 0x1b;

    if (character == 0x1b)
        state = ESCAPE;
    else if (state == ESCAPE && (character == '[' || character == 'O'))
        state = SEQUENCE;
    else if (state == ESCAPE || (character >= '@' && character <= '~'))
        state = TEXT;
    return part;
}

/* Takes one typed character; returns whether the line is complete. */
static int take(char character)
{
    if (is_escape(character))
        return 0;
    if (character == '\r' || character == '\n') {
        put_text("\n");
        return 1;
    }
    if (character == '\b' || character == 0x7f) {
        if (line_length > 0) {
            line_length--;
            put_text("\b \b");
        }
    } else if (character >= ' ' && character <= '~' && line_length < CONSOLE_LINE_SIZE - 1) {
        line[line_length++] = character;
        put(character);
    }
    return 0;
}

const char *console_read_line(const char *new_prompt)
{
    int complete = 0;
    char character;

    xSemaphoreTake(lock, portMAX_DELAY);
    prompt = new_prompt;
    line_length = 0;
    show_prompt();
    xSemaphoreGive(lock);
    while (!complete) {
        xQueueReceive(received, &character, portMAX_DELAY);
        xSemaphoreTake(lock, portMAX_DELAY);
        complete = take(character);
        if (complete)
            prompt = NULL;
        xSemaphoreGive(lock);
    }
    line[line_length] = '\0';
    return line;
}

void console_interrupt(void)
{
    BaseType_t woken = pdFALSE;

    write32(UART_INTERRUPT_CLEAR, INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT);
    while (!(read32(UART_FLAGS) & FLAG_RECEIVE_EMPTY)) {
        char character = (char)read32(UART_DATA);

        /* A full queue drops the character: nobody types that fast. */
        xQueueSendFromISR(received, &character, &woken);
    }
    portYIELD_FROM_ISR(woken);
}

void console_start(void)
{
    lock = xSemaphoreCreateMutex();
    received = xQueueCreate(256, sizeof(char));
    write32(UART_LINE_CONTROL, 3u << 5 | 1u << 4); /* 8 bits, FIFOs */
    write32(UART_CONTROL, 1u | 1u << 8 | 1u << 9); /* UART, transmitter, receiver */
    write32(UART_INTERRUPT_MASK, INTERRUPT_RECEIVE | INTERRUPT_RECEIVE_TIMEOUT);
    gic_enable(UART_INTERRUPT, UART_PRIORITY);
}
