/* mix_cpu.c: the products of spectra of mix.c on the CPU, in f32 and f64: a plane of the result at a time, by runs of
 * neighbouring frequencies. A plane is one thread's, which takes the terms of its sums in order. */
#include <string.h>

#include "backend/parallel.h"
#include "ops/declare.h"
#include "ops/map.h"

typedef struct mix_call {
    const dpt_call *call;
    const dpt_mix_attr *a;
    int64_t rows, in, out;  /* valid rows, channels of x and of y */
    int64_t plane, weights; /* values of a plane of frequencies, and of one of a weight */
} mix_call;

/* Run number r of the kept frequencies of a corner: where it begins in a plane. Runs have modes[2] frequencies. */
static int64_t run_begin(const dpt_mix_attr *a, int corner, int64_t r) {
    int64_t k[2] = {r / a->modes[1], r % a->modes[1]};
    for (int d = 0; d < 2; d++) { /* bit 0 is the first of the dimensions there are, the last one has no sign */
        const int bit = d - (DPT_MAX_SPATIAL - a->dims);
        if (bit >= 0 && corner >> bit & 1) k[d] += a->size[d] - a->modes[d];
    }
    return 2 * (k[0] * a->size[1] + k[1]) * a->size[2];
}

/* y += a b in complex numbers; `ca`, `cb`: of the conjugates. */
#define COMPLEX_ADD(name, T)                                                                                        \
    DPT_HOT_LOOP static void name(int64_t n, const T *restrict a, T ca, const T *restrict b, T cb, T *restrict y) { \
        const T both = ca * cb;                                                                                     \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) {                                                       \
            const T ar = a[2 * k], ai = a[2 * k + 1], br = b[2 * k], bi = b[2 * k + 1];                             \
            y[2 * k] += ar * br - both * (ai * bi);                                                                 \
            y[2 * k + 1] += cb * (ar * bi) + ca * (ai * br);                                                        \
        }                                                                                                           \
    }
COMPLEX_ADD(complex_add_f32, float)
COMPLEX_ADD(complex_add_f64, double)
#undef COMPLEX_ADD

/* Planes [begin, end) of the result of mix or mix_dgrad: plane (b, o), of terms over i, and the other way round. */
#define PRODUCT(name, T, complex_add)                                                                             \
    static void name(void *context, int64_t begin, int64_t end) {                                                 \
        const mix_call *c = context;                                                                              \
        const dpt_call *call = c->call;                                                                           \
        const bool back = call->op == DPT_OP_MIX_DGRAD;                                                           \
        const int64_t planes = back ? c->in : c->out, terms = back ? c->out : c->in;                              \
        const int64_t runs = c->a->modes[0] * c->a->modes[1], length = c->a->modes[2];                            \
        for (int64_t at = begin; at < end; at++) {                                                                \
            const int64_t row = at / planes, mine = at % planes;                                                  \
            T *y = (T *)call->out[0].data + at * c->plane;                                                        \
            memset(y, 0, (size_t)c->plane * sizeof *y);                                                           \
            for (int w = 1; w < call->n_in; w++)                                                                  \
                for (int64_t t = 0; t < terms; t++) {                                                             \
                    const T *x = (const T *)call->in[0].data + (row * terms + t) * c->plane;                      \
                    const int64_t pair = back ? mine * c->out + t : t * c->out + mine;                            \
                    const T *weight = (const T *)call->in[w].data + pair * c->weights;                            \
                    for (int64_t r = 0; r < runs; r++) {                                                          \
                        const int64_t from = run_begin(c->a, c->a->corner + w - 1, r);                            \
                        complex_add(length, x + from, 1, weight + 2 * r * length, back ? (T)-1 : (T)1, y + from); \
                    }                                                                                             \
                }                                                                                                 \
        }                                                                                                         \
    }
PRODUCT(product_f32, float, complex_add_f32)
PRODUCT(product_f64, double, complex_add_f64)
#undef PRODUCT

/* Pairs of channels [begin, end) of a weight's gradient. */
#define WGRAD(name, T, complex_add)                                                                  \
    static void name(void *context, int64_t begin, int64_t end) {                                    \
        const mix_call *c = context;                                                                 \
        const int64_t runs = c->a->modes[0] * c->a->modes[1], length = c->a->modes[2];               \
        for (int64_t at = begin; at < end; at++) {                                                   \
            T *w = (T *)c->call->out[0].data + at * c->weights;                                      \
            memset(w, 0, (size_t)c->weights * sizeof *w);                                            \
            for (int64_t b = 0; b < c->rows; b++) {                                                  \
                const T *x = (const T *)c->call->in[0].data + (b * c->in + at / c->out) * c->plane;  \
                const T *g = (const T *)c->call->in[1].data + (b * c->out + at % c->out) * c->plane; \
                for (int64_t r = 0; r < runs; r++) {                                                 \
                    const int64_t from = run_begin(c->a, c->a->corner, r);                           \
                    complex_add(length, x + from, -1, g + from, 1, w + 2 * r * length);              \
                }                                                                                    \
            }                                                                                        \
        }                                                                                            \
    }
WGRAD(wgrad_f32, float, complex_add_f32)
WGRAD(wgrad_f64, double, complex_add_f64)
#undef WGRAD

/* ---- kernels ---- */

static mix_call call_of(const dpt_call *call, const dpt_operand *x, const dpt_operand *y) {
    const dpt_mix_attr *a = &call->attr.mix;
    return (mix_call){.call = call,
                      .a = a,
                      .rows = x->axis < 0 ? x->dim[0] : dpt_valid_rows(call, x),
                      .in = x->dim[1],
                      .out = y->dim[1],
                      .plane = 2 * a->size[0] * a->size[1] * a->size[2],
                      .weights = 2 * a->modes[0] * a->modes[1] * a->modes[2]};
}

enum { WORK = 16384 }; /* operations from which another thread is worth its start */

static dpt_status mix_run(dpt_call *call, dpt_stream *stream) {
    const bool back = call->op == DPT_OP_MIX_DGRAD;
    const dpt_operand *from = &call->in[0], *to = &call->out[0];
    mix_call c = call_of(call, back ? to : from, back ? from : to);
    (void)stream;
    dpt_parallel(call->device->threads, c.rows * to->dim[1], WORK / (c.weights * from->dim[1]) + 1,
                 from->dtype == DPT_F64 ? product_f64 : product_f32, &c);
    return DPT_OK;
}

static dpt_status mix_wgrad_run(dpt_call *call, dpt_stream *stream) {
    mix_call c = call_of(call, &call->in[0], &call->in[1]);
    (void)stream;
    dpt_parallel(call->device->threads, c.in * c.out, WORK / (c.weights * (c.rows + 1)) + 1,
                 call->in[0].dtype == DPT_F64 ? wgrad_f64 : wgrad_f32, &c);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_mix = {.run = mix_run};
const dpt_kernel dpt_cpu_mix_dgrad = {.run = mix_run};
const dpt_kernel dpt_cpu_mix_wgrad = {.run = mix_wgrad_run};
