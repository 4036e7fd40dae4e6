/* The functions that the kernel and the compiler use; board/memory.c has them. */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memset(void *destination, int byte, size_t length);
void *memcpy(void *destination, const void *source, size_t length);
void *memmove(void *destination, const void *source, size_t length);
int memcmp(const void *left, const void *right, size_t length);
size_t strlen(const char *text);
int strcmp(const char *left, const char *right);

#endif
