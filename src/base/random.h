/* random.h: random numbers, version 1. Stateless: every number is a function of a key and a counter, so ranks,
 * threads, restarts and devices draw the same.
 *
 * Generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), by Random123.
 * Key: XXH64(name, seed), low word first. Counter: (element/4, row low, row high, step). */
#ifndef DPT_BASE_RANDOM_H
#define DPT_BASE_RANDOM_H

#include <Random123/philox.h>
#include <stdint.h>

typedef struct dpt_random4 {
    uint32_t v[4];
} dpt_random4;

uint64_t dpt_random_key(const char *name, uint64_t seed);

static inline dpt_random4 dpt_philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
    philox4x32_ctr_t c = {{c0, c1, c2, c3}};
    philox4x32_key_t k = {{(uint32_t)key, (uint32_t)(key >> 32)}};
    philox4x32_ctr_t r = philox4x32(c, k);
    return (dpt_random4){{r.v[0], r.v[1], r.v[2], r.v[3]}};
}

/* The four numbers of elements 4*quad .. 4*quad+3 of a row. */
static inline dpt_random4 dpt_random_quad(uint64_t key, uint32_t quad, uint64_t row, uint32_t step) {
    return dpt_philox(key, quad, (uint32_t)row, (uint32_t)(row >> 32), step);
}

/* [0, 1), 24 bits. */
static inline float dpt_uniform_f32(uint32_t bits) { return (float)(bits >> 8) * 0x1p-24f; }
/* (0, 1), 32 bits, never 0: for logarithms. */
static inline double dpt_uniform_open_f64(uint32_t bits) { return ((double)bits + 0.5) * 0x1p-32; }

/* Two normal numbers by Box and Muller from two words. */
void dpt_normal_pair(uint32_t a, uint32_t b, double *x, double *y);

#endif
