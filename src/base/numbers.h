/* numbers.h: 16-bit floating-point numbers as bits: bf16 (8 bits of exponent, 7 of fraction) and f16 (IEEE binary16: 5
 * and 10). To f32 every value is exact; from f32 they round to nearest, ties to even, subnormals included, and a number
 * too large becomes infinite. A NaN stays one; its bits do not matter. Without branches, so that loops over them
 * vectorise. */
#ifndef DPT_BASE_NUMBERS_H
#define DPT_BASE_NUMBERS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t dpt_bits_of_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float dpt_f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bf16 is the upper half of an f32. */
static inline float dpt_f32_of_bf16(uint16_t narrow) { return dpt_f32_of_bits((uint32_t)narrow << 16); }

static inline uint16_t dpt_bf16_of_f32(float value) {
    const uint32_t bits = dpt_bits_of_f32(value), rounded = bits + 0x7fffU + (bits >> 16 & 1U);
    const uint32_t nan = bits | 0x400000U; /* quiet: the fraction that is kept is not 0 */
    return (uint16_t)(((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded) >> 16);
}

/* Normal numbers: exponent and fraction move to their place in an f32, the bias by a product with 2^-112, which leaves
 * infinities and NaN as they are. Subnormal ones: the fraction becomes that of a number in [1/2, 1), less 1/2. */
static inline float dpt_f32_of_f16(uint16_t narrow) {
    const uint32_t bits = (uint32_t)narrow << 16, sign = bits & 0x80000000U, twice = bits + bits;
    const float normal = dpt_f32_of_bits((twice >> 4) + (0xe0U << 23)) * 0x1p-112F;
    const float subnormal = dpt_f32_of_bits(twice >> 17 | 126U << 23) - 0.5F;
    return dpt_f32_of_bits(sign | dpt_bits_of_f32(twice < 1U << 27 ? subnormal : normal));
}

/* A power of two is added that makes the last bit of the sum the last bit of the result, so that the addition rounds;
 * the two products make infinite what is too large. */
static inline uint16_t dpt_f16_of_f32(float value) {
    const uint32_t bits = dpt_bits_of_f32(value), twice = bits + bits, sign = bits & 0x80000000U;
    const float scaled = dpt_f32_of_bits(bits & 0x7fffffffU) * 0x1p112F * 0x1p-110F;
    uint32_t bias = twice & 0xff000000U;
    if (bias < 0x71000000U) bias = 0x71000000U;
    const uint32_t sum = dpt_bits_of_f32(dpt_f32_of_bits((bias >> 1) + 0x07800000U) + scaled);
    const uint32_t magnitude = (sum >> 13 & 0x7c00U) + (sum & 0xfffU);
    return (uint16_t)(sign >> 16 | (twice > 0xff000000U ? 0x7e00U : magnitude));
}

#endif
