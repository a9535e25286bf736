/* memory.c: counted, failable host allocation over the C library's. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_llong made;
static atomic_llong fail_at; /* value of `made` at which an allocation fails; 0: never */

static int refused(size_t bytes) {
    long long n = atomic_fetch_add(&made, 1) + 1;
    long long bad = atomic_load(&fail_at);
    if (bad == 0 || n != bad) return 0;
    dpt_error(DPT_ERR_MEMORY, "out of memory: %zu bytes (planned failure)", bytes);
    return 1;
}

static void *checked(void *p, size_t bytes) {
    if (p == NULL) dpt_error(DPT_ERR_MEMORY, "out of memory: %zu bytes", bytes);
    return p;
}

void dpt_alloc_fail_at(int64_t n) { atomic_store(&fail_at, n > 0 ? atomic_load(&made) + n : 0); }

int64_t dpt_alloc_count(void) { return atomic_load(&made); }

void *dpt_alloc(size_t bytes) {
    if (refused(bytes)) return NULL;
    return checked(malloc(bytes ? bytes : 1), bytes);
}

void *dpt_alloc_zero(size_t count, size_t size) {
    if (refused(count)) return NULL;
    return checked(calloc(count ? count : 1, size ? size : 1), count);
}

void *dpt_realloc(void *p, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return checked(NULL, SIZE_MAX);
    if (refused(bytes)) return NULL;
    return checked(realloc(p, bytes ? bytes : 1), bytes);
}

void *dpt_alloc_aligned(size_t bytes, size_t alignment) {
    if (refused(bytes)) return NULL;
    void *p = NULL;
    if (posix_memalign(&p, alignment, bytes ? bytes : 1) != 0) p = NULL;
    return checked(p, bytes);
}

char *dpt_strdup(const char *text) {
    if (text == NULL) return NULL;
    size_t bytes = strlen(text) + 1;
    char *copy = dpt_alloc(bytes);
    if (copy != NULL) memcpy(copy, text, bytes);
    return copy;
}

char *dpt_format(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : dpt_alloc((size_t)n + 1);
    if (text != NULL) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

void dpt_free(void *p) { free(p); }
