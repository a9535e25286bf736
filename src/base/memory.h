/* memory.h: host allocation of the library. All of it goes through here, so that tests can count it and make it fail.
 * Sizes of 0 give a valid pointer. A NULL result has set the thread's message. */
#ifndef DPT_BASE_MEMORY_H
#define DPT_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

void *dpt_alloc(size_t bytes);                           /* uninitialised */
void *dpt_alloc_zero(size_t count, size_t size);         /* overflow-checked */
void *dpt_realloc(void *p, size_t count, size_t size);   /* overflow-checked; p stays valid on failure */
void *dpt_alloc_aligned(size_t bytes, size_t alignment); /* uninitialised; release with dpt_free */
char *dpt_strdup(const char *text);                      /* NULL text gives NULL */
char *dpt_format(const char *format, ...) DPT_PRINTF(1, 2);
void dpt_free(void *p);

/* For tests: the n-th allocation from now fails (n = 1 is the next), once; 0 switches it off. */
void dpt_alloc_fail_at(int64_t n);
/* For tests: allocations made so far. */
int64_t dpt_alloc_count(void);

/* Returns DPT_ERR_MEMORY from the calling function where p is NULL. */
#define DPT_CHECK_ALLOC(p)                      \
    do {                                        \
        if ((p) == NULL) return DPT_ERR_MEMORY; \
    } while (0)
#define DPT_CHECK_ALLOC_GOTO(p, label) \
    do {                               \
        if ((p) == NULL) {             \
            status = DPT_ERR_MEMORY;   \
            goto label;                \
        }                              \
    } while (0)

/* Makes room for one more element in a growing array (pointer, int64_t count, int64_t capacity). */
#define DPT_GROW(array, count, capacity)                                                    \
    do {                                                                                    \
        if ((count) == (capacity)) {                                                        \
            int64_t dpt_grow_n_ = (capacity) ? 2 * (capacity) : 8;                          \
            void *dpt_grow_p_ = dpt_realloc((array), (size_t)dpt_grow_n_, sizeof *(array)); \
            DPT_CHECK_ALLOC(dpt_grow_p_);                                                   \
            (array) = dpt_grow_p_;                                                          \
            (capacity) = dpt_grow_n_;                                                       \
        }                                                                                   \
    } while (0)

#endif
