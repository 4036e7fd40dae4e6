/* Stands in for the C library's header: the kernel includes it and uses nothing of it but size_t and NULL. */
#ifndef STDLIB_H
#define STDLIB_H

#include <stddef.h>

#endif
