/* text.h: small helpers on strings. */
#ifndef DPT_BASE_TEXT_H
#define DPT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The candidate nearest to word (Levenshtein distance <= max(2, length/3)), or NULL if none is near. Borrowed. */
const char *dpt_nearest(const char *word, const char *const *candidates, int64_t count);

/* Appends to a bounded text; never overflows, always ends it. Returns the new length. */
size_t dpt_append(char *text, size_t bytes, size_t length, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Appends "ranks 0-2, 5": those of world for which chosen holds. Returns the new length. */
size_t dpt_append_ranks(char *text, size_t bytes, size_t length, const bool *chosen, int world);

/* "[B,3,28]": dims < 0 are written as letters (B batch, L length, A2.. further batch axes). */
void dpt_dims_text(char *text, size_t bytes, int ndim, const int64_t *dim);

#endif
