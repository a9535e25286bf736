/* types.c: sizes and names of element types, names of precisions; the version. */
#include "dptrain/types.h"

#include "base/error.h"

#ifndef DPTRAIN_VERSION
#error "the build defines DPTRAIN_VERSION"
#endif

#define COUNT(name, value, text, bytes) +1
_Static_assert(0 DPT_DTYPE_LIST(COUNT) == DPT_DTYPE_COUNT, "DPT_DTYPE_COUNT counts the list");
#undef COUNT

size_t dpt_dtype_size(dpt_dtype dtype) {
    switch (dtype) {
#define CASE(name, value, text, bytes) \
    case name: return bytes;
        DPT_DTYPE_LIST(CASE)
#undef CASE
    }
    return 0;
}

const char *dpt_dtype_text(dpt_dtype dtype) {
    switch (dtype) {
#define CASE(name, value, text, bytes) \
    case name: return text;
        DPT_DTYPE_LIST(CASE)
#undef CASE
    }
    return "?";
}

const char *dpt_precision_text(dpt_precision precision) {
    static const char *const text[] = {"fp32", "tf32", "bf16", "fp16"};
    return (unsigned)precision < (unsigned)DPT_PRECISION_COUNT ? text[precision] : "?";
}

const char *dpt_version(void) { return DPTRAIN_VERSION; }
