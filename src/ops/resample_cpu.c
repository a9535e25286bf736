/* resample_cpu.c: the CPU kernels of avg_pool and resample, which are one: sums over windows with the tables of weights
 * of backend/window.h.
 *
 * In canonical order a row of the result is made in two steps: the rows of x that it takes are added up, which runs
 * along them, and then the columns of that sum. Where channels stand side by side (backend/layout.h) the vector is up
 * to 16 of them, and an element of the result takes its elements of x one by one. Sums go by rows of a window first, so
 * that long ones lose little; their order does not depend on the threads, which take whole planes. */
#include <stdbool.h>

#include "backend/layout.h"
#include "backend/parallel.h"
#include "backend/window.h"
#include "base/memory.h"
#include "ops/declare.h"
#include "ops/map.h"

enum { STRIP = 4096, TILE = 16 };

typedef struct window_call {
    const dpt_taps *taps;
    int64_t plane, result; /* elements of a plane of x and of y */
    int64_t channels, lanes;
    const void *x;
    void *y;
} window_call;

#define INLINE static inline __attribute__((always_inline))

/* ---- canonical ---- */

/* sum[j] = weight * x[j], or that added to it */
#define ADD_ROW(name, T)                                                                                 \
    DPT_HOT_LOOP static void name(int64_t n, bool add, T weight, const T *restrict x, T *restrict sum) { \
        if (add) {                                                                                       \
            _Pragma("omp simd") for (int64_t j = 0; j < n; j++) sum[j] += weight * x[j];                 \
        } else {                                                                                         \
            _Pragma("omp simd") for (int64_t j = 0; j < n; j++) sum[j] = weight * x[j];                  \
        }                                                                                                \
    }
ADD_ROW(add_row_f32, float)
ADD_ROW(add_row_f64, double)
#undef ADD_ROW

/* Columns [from, to) of a row of y, of a row x that begins with column `base`. A tap that a column has not reads an
 * element that it has, and counts 0 whatever that is. */
#define TAKE_COLUMNS(name, T)                                                                                     \
    DPT_HOT_LOOP static void name(const dpt_taps *t, int64_t from, int64_t to, int64_t base, const T *restrict x, \
                                  T *restrict y) {                                                                \
        const int32_t *restrict begin = t->begin, *restrict count = t->count;                                     \
        const int32_t low = (int32_t)base;                                                                        \
        if (t->in == 1) { /* of a single column: spread */                                                        \
            const T *restrict weight = t->weight;                                                                 \
            _Pragma("omp simd") for (int64_t j = from; j < to; j++) y[j] = count[j] ? weight[j] * x[0] : 0;       \
            return;                                                                                               \
        }                                                                                                         \
        for (int64_t j = from; j < to; j++) y[j] = 0;                                                             \
        for (int32_t k = 0; k < (int32_t)t->width; k++) {                                                         \
            const T *restrict weight = (const T *)t->weight + k * t->out;                                         \
            _Pragma("omp simd") for (int64_t j = from; j < to; j++) {                                             \
                const int32_t left = count[j] - 1, at = begin[j] - low + (k < left ? k : left < 0 ? 0 : left);    \
                const T v = weight[j] * x[at < 0 ? 0 : at];                                                       \
                y[j] += k <= left ? v : 0;                                                                        \
            }                                                                                                     \
        }                                                                                                         \
    }
TAKE_COLUMNS(take_columns_f32, float)
TAKE_COLUMNS(take_columns_f64, double)
#undef TAKE_COLUMNS

/* The sum of weight[k * step] * x[k]. */
#define DOT(name, T)                                                                                        \
    DPT_HOT_LOOP static T name(int64_t n, const T *restrict weight, int64_t step, const T *restrict x) {    \
        T sum = 0;                                                                                          \
        if (step == 1) {                                                                                    \
            _Pragma("omp simd reduction(+ : sum)") for (int64_t k = 0; k < n; k++) sum += weight[k] * x[k]; \
        } else {                                                                                            \
            for (int64_t k = 0; k < n; k++) sum += weight[k * step] * x[k];                                 \
        }                                                                                                   \
        return sum;                                                                                         \
    }
DOT(dot_f32, float)
DOT(dot_f64, double)
#undef DOT

/* Row i of y, of `ready` rows of x: those that it takes, from the left. */
#define PLANE(name, T, add_row, take_columns, dot)                                                                     \
    INLINE T name##_weight(const dpt_taps *t, int64_t i, int64_t k) { return ((const T *)t->weight)[k * t->out + i]; } \
    static void name##_row(const dpt_taps *t, int64_t i0, int64_t i1, const T *x, T *y) {                              \
        T strip[STRIP];                                                                                                \
        const dpt_taps *last = &t[2];                                                                                  \
        const int64_t n = (int64_t)t[0].count[i0] * t[1].count[i1];                                                    \
        const int64_t first = t[0].begin[i0] * t[1].in + t[1].begin[i1];                                               \
        for (int64_t from = 0, to; from < last->out; from = to) {                                                      \
            const int64_t base = last->begin[from];                                                                    \
            int64_t end = base;                                                                                        \
            for (to = from; to < last->out; to++) {                                                                    \
                const int64_t needs = last->begin[to] + last->count[to];                                               \
                if (needs - base > STRIP) break;                                                                       \
                end = needs > end ? needs : end;                                                                       \
            }                                                                                                          \
            for (int64_t k = 0; k < n; k++) {                                                                          \
                const int64_t k0 = k / t[1].count[i1], k1 = k % t[1].count[i1];                                        \
                const T weight = name##_weight(&t[0], i0, k0) * name##_weight(&t[1], i1, k1);                          \
                add_row(end - base, k > 0, weight, x + (first + k0 * t[1].in + k1) * last->in + base, strip);          \
            }                                                                                                          \
            for (int64_t j = n ? to : from; j < to; j++) y[j] = 0;                                                     \
            take_columns(last, from, n ? to : from, base, strip, y);                                                   \
        }                                                                                                              \
    }                                                                                                                  \
    /* where rows of x do not fit a strip or end in one element: each by itself */                                     \
    static void name##_long_row(const dpt_taps *t, int64_t i0, int64_t i1, const T *x, T *y) {                         \
        for (int64_t j = 0; j < t[2].out; j++) {                                                                       \
            const T *weight = (const T *)t[2].weight + j;                                                              \
            y[j] = 0;                                                                                                  \
            for (int32_t k0 = 0; k0 < t[0].count[i0]; k0++)                                                            \
                for (int32_t k1 = 0; k1 < t[1].count[i1]; k1++) {                                                      \
                    const int64_t row = (t[0].begin[i0] + k0) * t[1].in + t[1].begin[i1] + k1;                         \
                    y[j] += name##_weight(&t[0], i0, k0) * name##_weight(&t[1], i1, k1) *                              \
                            dot(t[2].count[j], weight, t[2].out, x + row * t[2].in + t[2].begin[j]);                   \
                }                                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    static void name(void *context, int64_t begin, int64_t end) {                                                      \
        const window_call *c = context;                                                                                \
        const dpt_taps *t = c->taps;                                                                                   \
        const bool dots = t[2].out == 1 || t[2].width > STRIP;                                                         \
        for (int64_t i = begin; i < end; i++) {                                                                        \
            const T *x = (const T *)c->x + i * c->plane;                                                               \
            T *y = (T *)c->y + i * c->result;                                                                          \
            for (int64_t i0 = 0; i0 < t[0].out; i0++)                                                                  \
                for (int64_t i1 = 0; i1 < t[1].out; i1++, y += t[2].out)                                               \
                    (dots ? name##_long_row : name##_row)(t, i0, i1, x, y);                                            \
        }                                                                                                              \
    }
PLANE(planes_f32, float, add_row_f32, take_columns_f32, dot_f32)
PLANE(planes_f64, double, add_row_f64, take_columns_f64, dot_f64)
#undef PLANE

/* ---- channels side by side ---- */

/* Planes of n channels: position p of channel c is at p * lanes + c. Compiled with n known (16 or 8), or not. */
#define LANES(name, T)                                                                                               \
    INLINE void name(const window_call *w, const T *x, T *y, const int n) {                                          \
        const dpt_taps *a = &w->taps[0], *b = &w->taps[1], *c = &w->taps[2];                                         \
        for (int64_t i0 = 0; i0 < a->out; i0++)                                                                      \
            for (int64_t i1 = 0; i1 < b->out; i1++)                                                                  \
                for (int64_t i2 = 0; i2 < c->out; i2++, y += w->lanes) {                                             \
                    T sum[TILE] = {0};                                                                               \
                    for (int32_t k0 = 0; k0 < a->count[i0]; k0++)                                                    \
                        for (int32_t k1 = 0; k1 < b->count[i1]; k1++) {                                              \
                            const T weight =                                                                         \
                                ((const T *)a->weight)[k0 * a->out + i0] * ((const T *)b->weight)[k1 * b->out + i1]; \
                            const int64_t row = ((a->begin[i0] + k0) * b->in + b->begin[i1] + k1) * c->in;           \
                            const T *from = x + (row + c->begin[i2]) * w->lanes;                                     \
                            T part[TILE] = {0};                                                                      \
                            for (int32_t k2 = 0; k2 < c->count[i2]; k2++, from += w->lanes) {                        \
                                const T each = ((const T *)c->weight)[k2 * c->out + i2];                             \
                                _Pragma("omp simd") for (int l = 0; l < n; l++) part[l] += each * from[l];           \
                            }                                                                                        \
                            _Pragma("omp simd") for (int l = 0; l < n; l++) sum[l] += weight * part[l];              \
                        }                                                                                            \
                    for (int l = 0; l < n; l++) y[l] = sum[l];                                                       \
                }                                                                                                    \
    }
LANES(lanes_f32, float)
LANES(lanes_f64, double)
#undef LANES

/* Channels of a tile, and tiles of a row. */
static int64_t tile_of(const window_call *c) { return c->lanes < TILE ? c->lanes : TILE; }
static int64_t tiles_of(const window_call *c) {
    return c->channels / c->lanes * ((c->lanes + tile_of(c) - 1) / tile_of(c));
}

/* Tiles of channels, numbered through all rows. */
#define TILES(name, T, work)                                                                            \
    DPT_MULTIVERSION static void name(void *context, int64_t begin, int64_t end) {                      \
        const window_call *c = context;                                                                 \
        const int64_t tile = tile_of(c), tiles = tiles_of(c);                                           \
        for (int64_t i = begin; i < end; i++) {                                                         \
            const int64_t channel = i % tiles * tile, within = channel % c->lanes;                      \
            const int64_t block = i / tiles * c->channels + channel - within, left = c->lanes - within; \
            const T *x = (const T *)c->x + block * c->plane + within;                                   \
            T *y = (T *)c->y + block * c->result + within;                                              \
            if (left >= 16)                                                                             \
                work(c, x, y, 16);                                                                      \
            else if (left == 8)                                                                         \
                work(c, x, y, 8);                                                                       \
            else                                                                                        \
                work(c, x, y, (int)left);                                                               \
        }                                                                                               \
    }
TILES(tiles_f32, float, lanes_f32)
TILES(tiles_f64, double, lanes_f64)
#undef TILES

/* ---- kernels ---- */

/* A side that is a point has the bytes of every layout. */
static window_call call_of(const dpt_call *call) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const dpt_layout layout = dpt_layout_is_plain(x, x->layout) ? y->layout : x->layout;
    return (window_call){.taps = call->plan,
                         .plane = dpt_spatial_of(x),
                         .result = dpt_spatial_of(y),
                         .channels = x->dim[1],
                         .lanes = dpt_layout_lanes(layout, x->dim[1]),
                         .x = x->data,
                         .y = y->data};
}

static dpt_status window_prepare(dpt_call *call) {
    const dpt_pool_attr a = dpt_window_merge(&call->attr.pool);
    call->plan = dpt_alloc_zero(DPT_MAX_SPATIAL, sizeof(dpt_taps));
    DPT_CHECK_ALLOC(call->plan);
    call->table_bytes = dpt_taps_measure(&a, call->in[0].dtype, call->plan);
    return DPT_OK;
}

static dpt_status window_bind(dpt_call *call) {
    const dpt_pool_attr a = dpt_window_merge(&call->attr.pool);
    dpt_taps_place(call->in[0].dtype, call->plan, call->table);
    dpt_taps_fill(&a, call->in[0].dtype, call->plan);
    return DPT_OK;
}

static void window_release(dpt_call *call) {
    dpt_free(call->plan);
    call->plan = NULL;
}

static dpt_status window_run(dpt_call *call, dpt_stream *stream) {
    enum { WORK = 16384 }; /* elements from which another thread is worth its start */
    window_call c = call_of(call);
    const bool planes = c.lanes == 1, f64 = call->in[0].dtype == DPT_F64;
    const int64_t rows = call->in[0].axis < 0 ? call->in[0].dim[0] : dpt_valid_rows(call, &call->in[0]);
    const int64_t work = (c.plane + c.result) * tile_of(&c);
    const dpt_range_fn fn = planes ? f64 ? planes_f64 : planes_f32 : f64 ? tiles_f64 : tiles_f32;
    (void)stream;
    dpt_parallel(call->device->threads, rows * (planes ? c.channels : tiles_of(&c)), WORK / work + 1, fn, &c);
    return DPT_OK;
}

static dpt_status window_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, 1, 1, DPT_LAYOUTS_ALL);
    return DPT_OK;
}

#define WINDOW_KERNEL                                                                                 \
    {                                                                                                 \
        .prepare = window_prepare, .bind = window_bind, .run = window_run, .release = window_release, \
        .layouts = window_layouts                                                                     \
    }
const dpt_kernel dpt_cpu_avg_pool = WINDOW_KERNEL;
const dpt_kernel dpt_cpu_resample = WINDOW_KERNEL;
