/* The few C library functions that a freestanding program needs. Compiled so that the compiler does not turn their
 * loops into calls of themselves. */
#include <stdint.h>
#include <string.h>

void *memset(void *destination, int byte, size_t length)
{
    uint8_t *bytes = destination;

    while (length-- > 0)
        *bytes++ = (uint8_t)byte;
    return destination;
}

void *memcpy(void *destination, const void *source, size_t length)
{
    uint8_t *to = destination;
    const uint8_t *from = source;

    while (length-- > 0)
        *to++ = *from++;
    return destination;
}

void *memmove(void *destination, const void *source, size_t length)
{
    uint8_t *to = destination;
    const uint8_t *from = source;

    if (to <= from)
        return memcpy(destination, source, length);
    while (length-- > 0)
        to[length] = from[length];
    return destination;
}

int memcmp(const void *left, const void *right, size_t length)
{
    const uint8_t *a = left, *b = right;

    for (; length > 0; length--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;

    while (text[length] != '\0')
        length++;
    return length;
}

int strcmp(const char *left, const char *right)
{
    while (*left != '\0' && *left == *right) {
        left++;
        right++;
    }
    return (uint8_t)*left - (uint8_t)*right;
}
