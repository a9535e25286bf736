/* text.c: nearest names for messages, bounded appends, shapes in words. */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_WORD = 63 };

static int distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b), row[LONGEST_WORD + 1];
    if (n > LONGEST_WORD || m > LONGEST_WORD) return LONGEST_WORD;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *dpt_nearest(const char *word, const char *const *candidates, int64_t count) {
    int limit = (int)strlen(word) / 3;
    if (limit < 2) limit = 2;
    const char *best = NULL;
    for (int64_t i = 0; i < count; i++) {
        int d = distance(word, candidates[i]);
        if (d > limit) continue;
        limit = d - 1;
        best = candidates[i];
    }
    return best;
}

size_t dpt_append(char *text, size_t bytes, size_t length, const char *format, ...) {
    if (length + 1 >= bytes) return length;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + length, bytes - length, format, args);
    va_end(args);
    if (n < 0) return length;
    return length + (size_t)n < bytes ? length + (size_t)n : bytes - 1;
}

void dpt_dims_text(char *text, size_t bytes, int ndim, const int64_t *dim) {
    size_t n = dpt_append(text, bytes, 0, "[");
    for (int i = 0; i < ndim; i++) {
        if (i) n = dpt_append(text, bytes, n, ",");
        if (dim[i] == -1)
            n = dpt_append(text, bytes, n, "B");
        else if (dim[i] == -2)
            n = dpt_append(text, bytes, n, "L");
        else if (dim[i] < 0)
            n = dpt_append(text, bytes, n, "A%lld", -(long long)dim[i] - 14);
        else
            n = dpt_append(text, bytes, n, "%lld", (long long)dim[i]);
    }
    dpt_append(text, bytes, n, "]");
}

size_t dpt_append_ranks(char *text, size_t bytes, size_t length, const bool *chosen, int world) {
    int count = 0;
    for (int r = 0; r < world; r++) count += chosen[r];
    length = dpt_append(text, bytes, length, count == 1 ? "rank " : "ranks ");
    const char *between = "";
    for (int r = 0; r < world; r++) {
        if (!chosen[r]) continue;
        int end = r;
        while (end + 1 < world && chosen[end + 1]) end++;
        length = dpt_append(text, bytes, length, end > r ? "%s%d-%d" : "%s%d", between, r, end);
        between = ", ";
        r = end;
    }
    return length;
}
