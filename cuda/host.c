/* host.c: the library's own functions, as the plug-in's files call them: forwarded to the library through the table
 * that it hands over. So one set of messages, one count of allocations and one log serve both, and the plug-in links
 * nothing of the library. Invariant: each function here means what its namesake in src/base means. */
#include "cuda/host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

const dpt_host *dpt_cuda_host;

dpt_status dpt_error(dpt_status code, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dpt_cuda_host->error(code, text);
}

dpt_status dpt_error_prefix(dpt_status code, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dpt_cuda_host->error_prefix(code, text);
}

const char *dpt_last_error(void) { return dpt_cuda_host->last_error(); }

void dpt_log(dpt_log_level level, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dpt_cuda_host->log(level, text);
}

void *dpt_alloc(size_t bytes) { return dpt_cuda_host->alloc(bytes); }

void *dpt_alloc_zero(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        dpt_error(DPT_ERR_MEMORY, "out of memory: %zu times %zu bytes", count, size);
        return NULL;
    }
    void *memory = dpt_alloc(bytes);
    if (memory != NULL) memset(memory, 0, bytes);
    return memory;
}

void dpt_free(void *memory) { dpt_cuda_host->release(memory); }

uint64_t dpt_random_key(const char *name, uint64_t seed) { return dpt_cuda_host->random_key(name, seed); }
