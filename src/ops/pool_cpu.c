/* pool_cpu.c: the CPU kernels of max_pool, pool_scatter and pool_gather, a range of planes [H,W] at a time; where
 * channels stand side by side (backend/layout.h), up to 16 planes together, the vector being the channels. The index
 * holds offsets within a plane, whatever the layout.
 *
 * The usual 2x2 windows side by side go through flat loops over pairs of columns, many rows at once: rows alone are too
 * short for vectors (14 or 7 windows in the small image networks). A branch on which element wins would be mispredicted
 * half of the time. Comparisons are written as a > b ? x : y alone, which is what the compiler turns into vector code.
 */
#include <stdbool.h>
#include <string.h>

#include "backend/layout.h"
#include "backend/parallel.h"
#include "ops/declare.h"

typedef struct pool_call {
    const dpt_conv_attr *a;
    int64_t height, width, out_height, out_width, channels, lanes;
    void *x, *y; /* planes of x's size, and of the pooled size */
    int32_t *index;
} pool_call;

enum { STRIP = 2048 }; /* pairs of columns that are worked on together: a few rows, in the cache */

/* 2x2 windows side by side, over an even width whose two rows fit a strip. */
static bool is_fast(const pool_call *p) {
    const dpt_conv_attr *a = p->a;
    for (int i = 0; i < 2; i++)
        if (a->kernel[i] != 2 || a->stride[i] != 2 || a->pad[i] != 0) return false;
    return p->width % 2 == 0 && p->width <= STRIP;
}

/* Output rows of the strip that begins with output row i. */
static int64_t strip_rows(const pool_call *p, int64_t i) {
    int64_t rows = STRIP / p->width, left = p->out_height - i;
    return rows < left ? rows : left;
}

/* ---- max_pool ---- */

/* A NaN wins, the first of two; b > a is false with one, so v is right already where only a is. */

/* The winner of each pair of columns: pair k is x[2k], x[2k+1], at offset first + 2k of the plane. */
#define WIN_PAIRS(name, T)                                                                             \
    DPT_MULTIVERSION static void name(int64_t n, int32_t first, const T *restrict x, T *restrict best, \
                                      int32_t *restrict at) {                                          \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) {                                          \
            const int32_t left = first + 2 * (int32_t)k;                                               \
            const T a = x[2 * k], b = x[2 * k + 1];                                                    \
            T v = b > a ? b : a;                                                                       \
            int32_t i = b > a ? left + 1 : left;                                                       \
            v = b != b ? b : v;                                                                        \
            i = b != b ? left + 1 : i;                                                                 \
            i = a != a ? left : i;                                                                     \
            best[k] = v;                                                                               \
            at[k] = i;                                                                                 \
        }                                                                                              \
    }
WIN_PAIRS(win_pairs_f32, float)
WIN_PAIRS(win_pairs_f64, double)
#undef WIN_PAIRS

/* The winner of each pair and the one a row of `step` pairs below, in place. Every second row of results is of use. */
#define WIN_ROWS(name, T)                                                              \
    DPT_MULTIVERSION static void name(int64_t n, int64_t step, T *best, int32_t *at) { \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) {                          \
            const T a = best[k], b = best[k + step];                                   \
            const int32_t upper = at[k], lower = at[k + step];                         \
            T v = b > a ? b : a;                                                       \
            int32_t i = b > a ? lower : upper;                                         \
            v = b != b ? b : v;                                                        \
            i = b != b ? lower : i;                                                    \
            i = a != a ? upper : i;                                                    \
            best[k] = v;                                                               \
            at[k] = i;                                                                 \
        }                                                                              \
    }
WIN_ROWS(win_rows_f32, float)
WIN_ROWS(win_rows_f64, double)
#undef WIN_ROWS

#define POOL_FAST(name, T, win_pairs, win_rows)                                                      \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) {                               \
        T best[STRIP];                                                                               \
        int32_t at[STRIP];                                                                           \
        const int64_t step = p->out_width;                                                           \
        for (int64_t i = 0, rows; i < p->out_height; i += rows) {                                    \
            rows = strip_rows(p, i);                                                                 \
            win_pairs(2 * rows * step, (int32_t)(2 * i * p->width), x + 2 * i * p->width, best, at); \
            win_rows((2 * rows - 1) * step, step, best, at);                                         \
            for (int64_t r = 0; r < rows; r++) {                                                     \
                memcpy(y + (i + r) * step, best + 2 * r * step, (size_t)step * sizeof *y);           \
                memcpy(index + (i + r) * step, at + 2 * r * step, (size_t)step * sizeof *index);     \
            }                                                                                        \
        }                                                                                            \
    }
POOL_FAST(pool_fast_f32, float, win_pairs_f32, win_rows_f32)
POOL_FAST(pool_fast_f64, double, win_pairs_f64, win_rows_f64)
#undef POOL_FAST

/* The part of window number i that lies inside a dimension. */
static void window(int64_t i, int64_t kernel, int64_t stride, int64_t pad, int64_t size, int64_t *begin, int64_t *end) {
    *begin = i * stride - pad;
    *end = *begin + kernel < size ? *begin + kernel : size;
    if (*begin < 0) *begin = 0;
}

#define POOL_ANY(name, T)                                                                          \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) {                             \
        const dpt_conv_attr *a = p->a;                                                             \
        for (int64_t i = 0; i < p->out_height; i++)                                                \
            for (int64_t j = 0; j < p->out_width; j++) {                                           \
                int64_t h0, h1, w0, w1;                                                            \
                window(i, a->kernel[0], a->stride[0], a->pad[0], p->height, &h0, &h1);             \
                window(j, a->kernel[1], a->stride[1], a->pad[1], p->width, &w0, &w1);              \
                T best = x[h0 * p->width + w0];                                                    \
                int64_t at = h0 * p->width + w0;                                                   \
                for (int64_t h = h0; h < h1; h++)                                                  \
                    for (int64_t w = w0; w < w1; w++) {                                            \
                        const T v = x[h * p->width + w];                                           \
                        if (v > best || (v != v && best == best)) best = v, at = h * p->width + w; \
                    }                                                                              \
                *y++ = best;                                                                       \
                *index++ = (int32_t)at;                                                            \
            }                                                                                      \
    }
POOL_ANY(pool_any_f32, float)
POOL_ANY(pool_any_f64, double)
#undef POOL_ANY

/* ---- pool_scatter ---- */

/* x[2k], x[2k+1] of every pair: g[k] where at[k] names it, else 0. */
#define SPREAD_PAIRS(name, T)                                                                                    \
    DPT_MULTIVERSION static void name(int64_t n, int32_t first, const T *restrict g, const int32_t *restrict at, \
                                      T *restrict x) {                                                           \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) {                                                    \
            const int32_t left = first + 2 * (int32_t)k;                                                         \
            x[2 * k] = at[k] == left ? g[k] : 0;                                                                 \
            x[2 * k + 1] = at[k] == left + 1 ? g[k] : 0;                                                         \
        }                                                                                                        \
    }
SPREAD_PAIRS(spread_pairs_f32, float)
SPREAD_PAIRS(spread_pairs_f64, double)
#undef SPREAD_PAIRS

/* Every element belongs to one window at most, so each is written once. */
#define SCATTER_FAST(name, T, spread_pairs)                                                              \
    static void name(const pool_call *p, T *x, T *g, int32_t *index) {                                   \
        T value[STRIP];                                                                                  \
        int32_t at[STRIP];                                                                               \
        const int64_t step = p->out_width, windows = 2 * p->out_height * p->width;                       \
        for (int64_t i = 0, rows; i < p->out_height; i += rows) {                                        \
            rows = strip_rows(p, i);                                                                     \
            for (int64_t r = 0; r < 2 * rows; r++) {                                                     \
                memcpy(value + r * step, g + (i + r / 2) * step, (size_t)step * sizeof *value);          \
                memcpy(at + r * step, index + (i + r / 2) * step, (size_t)step * sizeof *at);            \
            }                                                                                            \
            spread_pairs(2 * rows * step, (int32_t)(2 * i * p->width), value, at, x + 2 * i * p->width); \
        }                                                                                                \
        memset(x + windows, 0, (size_t)(p->height * p->width - windows) * sizeof *x);                    \
    }
SCATTER_FAST(scatter_fast_f32, float, spread_pairs_f32)
SCATTER_FAST(scatter_fast_f64, double, spread_pairs_f64)
#undef SCATTER_FAST

#define SCATTER_ANY(name, T)                                                            \
    static void name(const pool_call *p, T *x, T *g, int32_t *index) {                  \
        memset(x, 0, (size_t)(p->height * p->width) * sizeof *x);                       \
        for (int64_t k = 0; k < p->out_height * p->out_width; k++) x[index[k]] += g[k]; \
    }
SCATTER_ANY(scatter_any_f32, float)
SCATTER_ANY(scatter_any_f64, double)
#undef SCATTER_ANY

/* ---- pool_gather ---- */

#define GATHER(name, T)                                                                \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) {                 \
        for (int64_t k = 0; k < p->out_height * p->out_width; k++) y[k] = x[index[k]]; \
    }
GATHER(gather_f32, float)
GATHER(gather_f64, double)
#undef GATHER

/* ---- channels side by side ---- */

enum { TILE = 16 };

/* Planes of `n` channels: position p of channel c is at p*lanes + c. These are compiled with the number of channels
 * known (16 or 8), or not. */
#define INLINE static inline __attribute__((always_inline))

#define POOL_LANES(name, T)                                                                               \
    INLINE void name(const pool_call *p, const T *x, T *y, int32_t *index, const int n) {                 \
        const dpt_conv_attr *a = p->a;                                                                    \
        for (int64_t i = 0; i < p->out_height; i++)                                                       \
            for (int64_t j = 0; j < p->out_width; j++, y += p->lanes, index += p->lanes) {                \
                T best[TILE];                                                                             \
                int32_t at[TILE];                                                                         \
                int64_t h0, h1, w0, w1;                                                                   \
                window(i, a->kernel[0], a->stride[0], a->pad[0], p->height, &h0, &h1);                    \
                window(j, a->kernel[1], a->stride[1], a->pad[1], p->width, &w0, &w1);                     \
                for (int c = 0; c < n; c++) {                                                             \
                    best[c] = x[(h0 * p->width + w0) * p->lanes + c];                                     \
                    at[c] = (int32_t)(h0 * p->width + w0);                                                \
                }                                                                                         \
                for (int64_t h = h0; h < h1; h++)                                                         \
                    for (int64_t w = w0; w < w1; w++) {                                                   \
                        const int32_t here = (int32_t)(h * p->width + w);                                 \
                        const T *v = x + here * p->lanes;                                                 \
                        _Pragma("omp simd") for (int c = 0; c < n; c++) {                                 \
                            const bool wins = (v[c] > best[c]) | ((v[c] != v[c]) & (best[c] == best[c])); \
                            best[c] = wins ? v[c] : best[c];                                              \
                            at[c] = wins ? here : at[c];                                                  \
                        }                                                                                 \
                    }                                                                                     \
                for (int c = 0; c < n; c++) y[c] = best[c], index[c] = at[c];                             \
            }                                                                                             \
    }
POOL_LANES(pool_lanes_f32, float)
POOL_LANES(pool_lanes_f64, double)
#undef POOL_LANES

/* Windows that tile the plane write each element once; others add to zeros. */
static bool tiles_plane(const pool_call *p) {
    const dpt_conv_attr *a = p->a;
    for (int i = 0; i < 2; i++)
        if (a->kernel[i] != a->stride[i] || a->pad[i] != 0) return false;
    return p->out_height * a->kernel[0] == p->height && p->out_width * a->kernel[1] == p->width;
}

#define SCATTER_LANES(name, T)                                                                                    \
    INLINE void name(const pool_call *p, T *x, const T *g, const int32_t *index, const int n) {                   \
        const dpt_conv_attr *a = p->a;                                                                            \
        const bool tiles = tiles_plane(p);                                                                        \
        for (int64_t i = 0; !tiles && i < p->height * p->width; i++)                                              \
            for (int c = 0; c < n; c++) x[i * p->lanes + c] = 0;                                                  \
        for (int64_t i = 0; i < p->out_height; i++)                                                               \
            for (int64_t j = 0; j < p->out_width; j++, g += p->lanes, index += p->lanes) {                        \
                int64_t h0, h1, w0, w1;                                                                           \
                window(i, a->kernel[0], a->stride[0], a->pad[0], p->height, &h0, &h1);                            \
                window(j, a->kernel[1], a->stride[1], a->pad[1], p->width, &w0, &w1);                             \
                for (int64_t h = h0; h < h1; h++)                                                                 \
                    for (int64_t w = w0; w < w1; w++) {                                                           \
                        const int32_t here = (int32_t)(h * p->width + w);                                         \
                        T *to = x + here * p->lanes;                                                              \
                        if (tiles) {                                                                              \
                            _Pragma("omp simd") for (int c = 0; c < n; c++) to[c] = index[c] == here ? g[c] : 0;  \
                        } else {                                                                                  \
                            _Pragma("omp simd") for (int c = 0; c < n; c++) to[c] += index[c] == here ? g[c] : 0; \
                        }                                                                                         \
                    }                                                                                             \
            }                                                                                                     \
    }
SCATTER_LANES(scatter_lanes_f32, float)
SCATTER_LANES(scatter_lanes_f64, double)
#undef SCATTER_LANES

#define GATHER_LANES(name, T)                                                                        \
    INLINE void name(const pool_call *p, const T *x, T *y, const int32_t *index, const int n) {      \
        for (int64_t k = 0; k < p->out_height * p->out_width; k++, y += p->lanes, index += p->lanes) \
            for (int c = 0; c < n; c++) y[c] = x[index[c] * p->lanes + c];                           \
    }
GATHER_LANES(gather_lanes_f32, float)
GATHER_LANES(gather_lanes_f64, double)
#undef GATHER_LANES

/* ---- kernels: all planes of the valid rows ---- */

#define PLANES(name, T, fast, any)                                                                      \
    static void name(void *context, int64_t begin, int64_t end) {                                       \
        const pool_call *p = context;                                                                   \
        const int64_t plane = p->height * p->width, out = p->out_height * p->out_width;                 \
        const bool use_fast = is_fast(p);                                                               \
        for (int64_t i = begin; i < end; i++)                                                           \
            (use_fast ? fast : any)(p, (T *)p->x + i * plane, (T *)p->y + i * out, p->index + i * out); \
    }
PLANES(pool_planes_f32, float, pool_fast_f32, pool_any_f32)
PLANES(pool_planes_f64, double, pool_fast_f64, pool_any_f64)
PLANES(scatter_planes_f32, float, scatter_fast_f32, scatter_any_f32)
PLANES(scatter_planes_f64, double, scatter_fast_f64, scatter_any_f64)
PLANES(gather_planes_f32, float, gather_f32, gather_f32)
PLANES(gather_planes_f64, double, gather_f64, gather_f64)
#undef PLANES

/* Channels of a tile of the blocks that p has. */
static int64_t tile_of(const pool_call *p) { return p->lanes < TILE ? p->lanes : TILE; }
static int64_t tiles_of(const pool_call *p) {
    return p->channels / p->lanes * ((p->lanes + tile_of(p) - 1) / tile_of(p));
}

/* Tiles of channels, numbered through all rows. */
#define TILES(name, T, work)                                                                                          \
    DPT_MULTIVERSION static void name(void *context, int64_t begin, int64_t end) {                                    \
        const pool_call *p = context;                                                                                 \
        const int64_t plane = p->height * p->width, out = p->out_height * p->out_width;                               \
        const int64_t tile = tile_of(p), tiles = tiles_of(p);                                                         \
        for (int64_t i = begin; i < end; i++) {                                                                       \
            const int64_t row = i / tiles, c = i % tiles * tile, block = row * p->channels + c / p->lanes * p->lanes; \
            const int64_t within = c % p->lanes, left = p->lanes - within;                                            \
            T *x = (T *)p->x + block * plane + within, *y = (T *)p->y + block * out + within;                         \
            int32_t *index = p->index + block * out + within;                                                         \
            if (left >= 16)                                                                                           \
                work(p, x, y, index, 16);                                                                             \
            else if (left == 8)                                                                                       \
                work(p, x, y, index, 8);                                                                              \
            else                                                                                                      \
                work(p, x, y, index, (int)left);                                                                      \
        }                                                                                                             \
    }
TILES(pool_tiles_f32, float, pool_lanes_f32)
TILES(pool_tiles_f64, double, pool_lanes_f64)
TILES(scatter_tiles_f32, float, scatter_lanes_f32)
TILES(scatter_tiles_f64, double, scatter_lanes_f64)
TILES(gather_tiles_f32, float, gather_lanes_f32)
TILES(gather_tiles_f64, double, gather_lanes_f64)
#undef TILES

typedef struct pool_fn {
    dpt_range_fn planes[2], tiles[2]; /* f32, f64 */
} pool_fn;

/* x and pooled are the operands of either size; x has the layout, the pooled plane may be a point. */
static dpt_status run_pool(const dpt_call *call, const dpt_operand *x, const dpt_operand *pooled, void *index,
                           const pool_fn *fn) {
    enum { WORK = 16384 }; /* elements from which another thread is worth its start */
    pool_call p = {.a = &call->attr.conv,
                   .height = x->dim[2],
                   .width = x->dim[3],
                   .out_height = pooled->dim[2],
                   .out_width = pooled->dim[3],
                   .channels = x->dim[1],
                   .lanes = dpt_layout_lanes(x->layout, x->dim[1]),
                   .x = x->data,
                   .y = pooled->data,
                   .index = index};
    const bool planes = p.lanes == 1, f64 = x->dtype == DPT_F64;
    const int64_t work = p.height * p.width * tile_of(&p), rows = dpt_valid_count(call, x) / x->row_count;
    dpt_parallel(call->device->threads, rows * (planes ? p.channels : tiles_of(&p)), WORK / work + 1,
                 planes ? fn->planes[f64] : fn->tiles[f64], &p);
    return DPT_OK;
}

static dpt_status max_pool_run(dpt_call *call, dpt_stream *stream) {
    static const pool_fn fn = {{pool_planes_f32, pool_planes_f64}, {pool_tiles_f32, pool_tiles_f64}};
    (void)stream;
    return run_pool(call, &call->in[0], &call->out[0], call->out[1].data, &fn);
}

static dpt_status pool_scatter_run(dpt_call *call, dpt_stream *stream) {
    static const pool_fn fn = {{scatter_planes_f32, scatter_planes_f64}, {scatter_tiles_f32, scatter_tiles_f64}};
    (void)stream;
    return run_pool(call, &call->out[0], &call->in[0], call->in[1].data, &fn);
}

static dpt_status pool_gather_run(dpt_call *call, dpt_stream *stream) {
    static const pool_fn fn = {{gather_planes_f32, gather_planes_f64}, {gather_tiles_f32, gather_tiles_f64}};
    (void)stream;
    return run_pool(call, &call->in[0], &call->out[0], call->in[1].data, &fn);
}

/* Values and index alike. */
static dpt_status pool_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, (1u << call->n_in) - 1, (1u << call->n_out) - 1, DPT_LAYOUTS_ALL);
    return DPT_OK;
}

const dpt_kernel dpt_cpu_max_pool = {.run = max_pool_run, .layouts = pool_layouts};
const dpt_kernel dpt_cpu_pool_scatter = {.run = pool_scatter_run, .layouts = pool_layouts};
const dpt_kernel dpt_cpu_pool_gather = {.run = pool_gather_run, .layouts = pool_layouts};
