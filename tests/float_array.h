/* float_array.h: operands of any float type for kernel tests, 16 bits included: read and written as f64, rounded to
 * nearest even. Rows past the valid ones are NaN, so that a kernel that lets padding in shows. */
#ifndef DPT_TESTS_FLOAT_ARRAY_H
#define DPT_TESTS_FLOAT_ARRAY_H

#include "base/random.h"
#include "kernel_call.h"

static inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint16_t float_to_bf16(float value) {
    const uint32_t bits = float_bits(value);
    return (uint16_t)(isnan(value) ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline uint16_t float_to_f16(float value) {
    const uint16_t sign = (uint16_t)(float_bits(value) >> 16 & 0x8000);
    if (isnan(value)) return 0x7e00;
    const double size = fabs((double)value);
    if (size >= 65520) return (uint16_t)(sign | 0x7c00);
    int exponent = -14;
    while (exponent < 15 && size >= ldexp(1, exponent + 1)) exponent++;
    const int units = (int)nearbyint(ldexp(size, 10 - exponent)); /* of the last place */
    return (uint16_t)(sign + (uint16_t)(((exponent + 14) << 10) + units));
}

static inline double float_from_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return (double)value;
}

static inline double float_from_f16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double value = exponent == 31  ? (fraction ? NAN : INFINITY)
                         : exponent == 0 ? ldexp(fraction, -24)
                                         : ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -value : value;
}

static inline double float_get(const dpt_operand *o, int64_t i) {
    switch (o->dtype) {
        case DPT_F64: return ((const double *)o->data)[i];
        case DPT_F32: return (double)((const float *)o->data)[i];
        case DPT_BF16: return float_from_bf16(((const uint16_t *)o->data)[i]);
        default: return float_from_f16(((const uint16_t *)o->data)[i]);
    }
}

/* 16 bits by way of f32, as kernels do. */
static inline void float_put(const dpt_operand *o, int64_t i, double value) {
    switch (o->dtype) {
        case DPT_F64: ((double *)o->data)[i] = value; break;
        case DPT_F32: ((float *)o->data)[i] = (float)value; break;
        case DPT_BF16: ((uint16_t *)o->data)[i] = float_to_bf16((float)value); break;
        default: ((uint16_t *)o->data)[i] = float_to_f16((float)value); break;
    }
}

/* What float_put leaves of a value. */
static inline double float_rounded(dpt_dtype dtype, double value) {
    double room;
    const dpt_operand one = {.data = &room, .dtype = dtype};
    float_put(&one, 0, value);
    return float_get(&one, 0);
}

static inline int64_t float_valid(const dpt_operand *o, int64_t rows) {
    return o->axis < 0 ? o->count : rows * o->row_count;
}

/* Random values in [-1, 1), the same for every type but for rounding; key 0: NaN everywhere, for outputs. Released with
 * dpt_free(o.data). */
static inline dpt_operand float_array(dpt_dtype dtype, bool batch, int64_t rows, int ndim, const int64_t *dim,
                                      uint64_t key) {
    dpt_operand o = kernel_operand(NULL, dtype, batch, ndim, dim);
    o.data = dpt_alloc((size_t)o.count * dpt_dtype_size(dtype));
    for (int64_t i = 0; i < o.count; i++) {
        const double value = 2 * (double)dpt_uniform_f32(dpt_random_quad(key, (uint32_t)i, 0, 0).v[0]) - 1;
        float_put(&o, i, key != 0 && i < float_valid(&o, rows) ? value : NAN);
    }
    return o;
}

#endif
