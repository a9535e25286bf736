/* array_convert.c: see array_convert.h. Floats go through double, integers through int64: both are exact; to a 16-bit
 * float through f32. */
#include "program/array_convert.h"

#include <stdbool.h>
#include <string.h>

#include "base/numbers.h"

static double float_at(const void *p, dpt_dtype t, int64_t i) {
    switch (t) {
        case DPT_F32: return ((const float *)p)[i];
        case DPT_F64: return ((const double *)p)[i];
        case DPT_U8: return ((const uint8_t *)p)[i];
        case DPT_I32: return ((const int32_t *)p)[i];
        case DPT_I64: return (double)((const int64_t *)p)[i];
        case DPT_BF16: return dpt_f32_of_bf16(((const uint16_t *)p)[i]);
        case DPT_F16: return dpt_f32_of_f16(((const uint16_t *)p)[i]);
    }
    return 0;
}

static int64_t int_at(const void *p, dpt_dtype t, int64_t i) {
    switch (t) {
        case DPT_U8: return ((const uint8_t *)p)[i];
        case DPT_I32: return ((const int32_t *)p)[i];
        case DPT_I64: return ((const int64_t *)p)[i];
        default: return 0;
    }
}

static bool is_float(dpt_dtype t) { return t == DPT_F32 || t == DPT_F64 || t == DPT_BF16 || t == DPT_F16; }

dpt_status dpt_array_check(const void *from, dpt_dtype from_type, dpt_dtype to_type, int64_t count) {
    DPT_CHECK(dpt_dtype_size(from_type) && dpt_dtype_size(to_type), DPT_ERR_ARG, "no such element type: %d",
              (int)from_type);
    if (is_float(to_type) || from_type == to_type) return DPT_OK;
    DPT_CHECK(!is_float(from_type), DPT_ERR_ARG, "%s cannot become %s", dpt_dtype_text(from_type),
              dpt_dtype_text(to_type));
    int64_t low = to_type == DPT_U8 ? 0 : to_type == DPT_I32 ? INT32_MIN : INT64_MIN;
    int64_t high = to_type == DPT_U8 ? UINT8_MAX : to_type == DPT_I32 ? INT32_MAX : INT64_MAX;
    for (int64_t i = 0; i < count; i++) {
        int64_t v = int_at(from, from_type, i);
        DPT_CHECK(v >= low && v <= high, DPT_ERR_ARG, "element %lld is %lld: it does not fit %s", (long long)i,
                  (long long)v, dpt_dtype_text(to_type));
    }
    return DPT_OK;
}

static void convert_integers(const void *from, dpt_dtype ft, void *to, dpt_dtype tt, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int64_t v = int_at(from, ft, i);
        if (tt == DPT_U8)
            ((uint8_t *)to)[i] = (uint8_t)v;
        else if (tt == DPT_I32)
            ((int32_t *)to)[i] = (int32_t)v;
        else
            ((int64_t *)to)[i] = v;
    }
}

static void convert_floats(const void *from, dpt_dtype ft, void *to, dpt_dtype tt, int64_t count) {
    uint16_t *half = to;
    if (tt == DPT_F32)
        for (int64_t i = 0; i < count; i++) ((float *)to)[i] = (float)float_at(from, ft, i);
    else if (tt == DPT_F64)
        for (int64_t i = 0; i < count; i++) ((double *)to)[i] = float_at(from, ft, i);
    else if (tt == DPT_BF16)
        for (int64_t i = 0; i < count; i++) half[i] = dpt_bf16_of_f32((float)float_at(from, ft, i));
    else
        for (int64_t i = 0; i < count; i++) half[i] = dpt_f16_of_f32((float)float_at(from, ft, i));
}

dpt_status dpt_array_convert(const void *from, dpt_dtype from_type, void *to, dpt_dtype to_type, int64_t count) {
    DPT_TRY(dpt_array_check(from, from_type, to_type, count));
    if (from_type == to_type) {
        if (count) memcpy(to, from, (size_t)count * dpt_dtype_size(to_type));
    } else if (is_float(to_type)) {
        convert_floats(from, from_type, to, to_type, count);
    } else {
        convert_integers(from, from_type, to, to_type, count);
    }
    return DPT_OK;
}
