/* pool_cpu.c: the CPU kernels of max_pool, pool_scatter and pool_gather, a range of planes [D,H,W] at a time; where
 * channels stand side by side (backend/layout.h), up to 16 planes together, the vector being the channels. The index
 * holds offsets within a plane, whatever the layout.
 *
 * The usual 2x2 and 2x2x2 windows side by side go through flat loops over pairs of columns, many rows at once: rows
 * alone are too short for vectors (14 or 7 windows in the small image networks). A branch on which element wins would
 * be mispredicted half of the time. Comparisons are written as a > b ? x : y alone, which is what the compiler turns
 * into vector code.
 */
#include <stdbool.h>
#include <string.h>

#include "backend/layout.h"
#include "backend/parallel.h"
#include "backend/window.h"
#include "ops/declare.h"

typedef struct pool_call {
    const dpt_pool_attr *a;
    int64_t plane, pooled; /* elements of a plane of x, and of the pooled size */
    int64_t channels, lanes;
    void *x, *y; /* planes of x's size, and of the pooled size */
    int32_t *index;
} pool_call;

enum { STRIP = 2048 }; /* pairs of columns that are worked on together: a few rows, in the cache */

/* Windows of deep x 2 x 2 side by side, none of them cut off by the end of x. */
static bool are_pairs(const dpt_pool_attr *a, int64_t deep) {
    const int64_t size[3] = {deep, 2, 2};
    for (int d = 0; d < 3; d++)
        if (a->kernel[d] != size[d] || a->stride[d] != size[d] || a->pad[d] != 0 || a->out[d] * size[d] > a->in[d])
            return false;
    return true;
}

/* Such windows over an even width whose two rows fit a strip. */
static bool is_fast(const dpt_pool_attr *a) {
    return (are_pairs(a, 1) || are_pairs(a, 2)) && a->in[2] % 2 == 0 && a->in[2] <= STRIP;
}

/* Output rows of the strip that begins with output row i. */
static int64_t strip_rows(const pool_call *p, int64_t i) {
    int64_t rows = STRIP / p->a->in[2], left = p->a->out[1] - i;
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

/* The better of each of n candidates and of the ones in `below`, which come later, in place. */
#define WIN_LATER(name, T)                                                                                        \
    DPT_MULTIVERSION static void name(int64_t n, T *best, int32_t *at, const T *below, const int32_t *below_at) { \
        _Pragma("omp simd") for (int64_t k = 0; k < n; k++) {                                                     \
            const T a = best[k], b = below[k];                                                                    \
            const int32_t upper = at[k], lower = below_at[k];                                                     \
            T v = b > a ? b : a;                                                                                  \
            int32_t i = b > a ? lower : upper;                                                                    \
            v = b != b ? b : v;                                                                                   \
            i = b != b ? lower : i;                                                                               \
            i = a != a ? upper : i;                                                                               \
            best[k] = v;                                                                                          \
            at[k] = i;                                                                                            \
        }                                                                                                         \
    }
WIN_LATER(win_later_f32, float)
WIN_LATER(win_later_f64, double)
#undef WIN_LATER

/* Two rows of x give one of windows: pairs of columns first, then each row with the one below it, of which every second
 * result is of use; then the same of the slice behind, where windows have two. */
#define POOL_FAST(name, T, win_pairs, win_later)                                                    \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) {                              \
        T best[2][STRIP];                                                                           \
        int32_t at[2][STRIP];                                                                       \
        const int64_t step = p->a->out[2], width = p->a->in[2], slice = p->a->in[1] * width;        \
        const int64_t deep = p->a->kernel[0];                                                       \
        for (int64_t d = 0; d < p->a->out[0]; d++)                                                  \
            for (int64_t i = 0, rows; i < p->a->out[1]; i += rows) {                                \
                rows = strip_rows(p, i);                                                            \
                for (int64_t s = 0; s < deep; s++) {                                                \
                    const int64_t first = (d * deep + s) * slice + 2 * i * width;                   \
                    win_pairs(2 * rows * step, (int32_t)first, x + first, best[s], at[s]);          \
                    win_later((2 * rows - 1) * step, best[s], at[s], best[s] + step, at[s] + step); \
                }                                                                                   \
                if (deep > 1) win_later((2 * rows - 1) * step, best[0], at[0], best[1], at[1]);     \
                for (int64_t r = 0; r < rows; r++, y += step, index += step) {                      \
                    memcpy(y, best[0] + 2 * r * step, (size_t)step * sizeof *y);                    \
                    memcpy(index, at[0] + 2 * r * step, (size_t)step * sizeof *index);              \
                }                                                                                   \
            }                                                                                       \
    }
POOL_FAST(pool_fast_f32, float, win_pairs_f32, win_later_f32)
POOL_FAST(pool_fast_f64, double, win_pairs_f64, win_later_f64)
#undef POOL_FAST

/* The window of output element (d,h,w): its elements are begin[] to end[]. */
typedef struct box {
    int64_t begin[3], end[3];
} box;
static inline void window(const dpt_pool_attr *a, box *b, int d, int64_t i) {
    dpt_window_inside(a, d, i, &b->begin[d], &b->end[d]);
}

/* Runs a statement for every output element, in order, with its window in b. */
#define EACH_WINDOW(a, b)                                                            \
    for (int64_t i0 = 0; i0 < (a)->out[0] && (window(a, &b, 0, i0), true); i0++)     \
        for (int64_t i1 = 0; i1 < (a)->out[1] && (window(a, &b, 1, i1), true); i1++) \
            for (int64_t i2 = 0; i2 < (a)->out[2] && (window(a, &b, 2, i2), true); i2++)
/* For every element of a window, in order, with its offset in the plane. */
#define EACH_ELEMENT(a, b, here)                                                  \
    for (int64_t j0 = b.begin[0]; j0 < b.end[0]; j0++)                            \
        for (int64_t j1 = b.begin[1]; j1 < b.end[1]; j1++)                        \
            for (int64_t here = (j0 * (a)->in[1] + j1) * (a)->in[2] + b.begin[2], \
                         last_ = here + b.end[2] - b.begin[2];                    \
                 here < last_; here++)

static inline int64_t corner(const dpt_pool_attr *a, const box *b) {
    return (b->begin[0] * a->in[1] + b->begin[1]) * a->in[2] + b->begin[2];
}

#define POOL_ANY(name, T)                                                      \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) {         \
        const dpt_pool_attr *a = p->a;                                         \
        box b;                                                                 \
        EACH_WINDOW(a, b) {                                                    \
            int64_t at = corner(a, &b);                                        \
            T best = x[at];                                                    \
            EACH_ELEMENT(a, b, here) {                                         \
                const T v = x[here];                                           \
                if (v > best || (v != v && best == best)) best = v, at = here; \
            }                                                                  \
            *y++ = best;                                                       \
            *index++ = (int32_t)at;                                            \
        }                                                                      \
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
#define SCATTER_FAST(name, T, spread_pairs)                                                   \
    static void name(const pool_call *p, T *x, T *g, int32_t *index) {                        \
        T value[STRIP];                                                                       \
        int32_t at[STRIP];                                                                    \
        const int64_t step = p->a->out[2], width = p->a->in[2], slice = p->a->in[1] * width;  \
        const int64_t deep = p->a->kernel[0], used = 2 * p->a->out[1] * width;                \
        for (int64_t d = 0; d < p->a->out[0]; d++) {                                          \
            for (int64_t i = 0, rows; i < p->a->out[1]; i += rows) {                          \
                rows = strip_rows(p, i);                                                      \
                for (int64_t r = 0; r < 2 * rows; r++) {                                      \
                    memcpy(value + r * step, g + r / 2 * step, (size_t)step * sizeof *value); \
                    memcpy(at + r * step, index + r / 2 * step, (size_t)step * sizeof *at);   \
                }                                                                             \
                g += rows * step, index += rows * step;                                       \
                for (int64_t s = 0; s < deep; s++) {                                          \
                    const int64_t first = (d * deep + s) * slice + 2 * i * width;             \
                    spread_pairs(2 * rows * step, (int32_t)first, value, at, x + first);      \
                }                                                                             \
            }                                                                                 \
            for (int64_t s = d * deep; s < (d + 1) * deep; s++)                               \
                memset(x + s * slice + used, 0, (size_t)(slice - used) * sizeof *x);          \
        }                                                                                     \
        const int64_t whole = p->a->out[0] * deep * slice;                                    \
        memset(x + whole, 0, (size_t)(p->plane - whole) * sizeof *x);                         \
    }
SCATTER_FAST(scatter_fast_f32, float, spread_pairs_f32)
SCATTER_FAST(scatter_fast_f64, double, spread_pairs_f64)
#undef SCATTER_FAST

#define SCATTER_ANY(name, T)                                           \
    static void name(const pool_call *p, T *x, T *g, int32_t *index) { \
        memset(x, 0, (size_t)p->plane * sizeof *x);                    \
        for (int64_t k = 0; k < p->pooled; k++) x[index[k]] += g[k];   \
    }
SCATTER_ANY(scatter_any_f32, float)
SCATTER_ANY(scatter_any_f64, double)
#undef SCATTER_ANY

/* ---- pool_gather ---- */

#define GATHER(name, T)                                                \
    static void name(const pool_call *p, T *x, T *y, int32_t *index) { \
        for (int64_t k = 0; k < p->pooled; k++) y[k] = x[index[k]];    \
    }
GATHER(gather_f32, float)
GATHER(gather_f64, double)
#undef GATHER

/* ---- channels side by side ---- */

enum { TILE = 16 };

/* Planes of `n` channels: position p of channel c is at p*lanes + c. These are compiled with the number of channels
 * known (16 or 8), or not. */
#define INLINE static inline __attribute__((always_inline))

/* Channel c of a window of deep x 2 x 2 that lies inside of x: the better of the best so far and of a later value. */
#define WIN_NEXT(offset)                                \
    {                                                   \
        const T a = best, b = x[(offset)*lanes + c];    \
        const int32_t here = first + (int32_t)(offset); \
        best = b > a ? b : a;                           \
        best = b != b ? b : best;                       \
        best = a != a ? a : best;                       \
        int32_t i = b > a ? here : at;                  \
        i = b != b ? here : i;                          \
        at = a != a ? at : i;                           \
    }
#define POOL_PAIRS(name, T_)                                                                            \
    INLINE void name(const pool_call *p, const T_ *restrict x, T_ *restrict y, int32_t *restrict index, \
                     const int32_t first, const bool deep, const int n) {                               \
        typedef T_ T;                                                                                   \
        const int64_t row = p->a->in[2], slice = p->a->in[1] * row, lanes = p->lanes;                   \
        _Pragma("omp simd") for (int c = 0; c < n; c++) {                                               \
            T best = x[c];                                                                              \
            int32_t at = first;                                                                         \
            WIN_NEXT(1)                                                                                 \
            WIN_NEXT(row)                                                                               \
            WIN_NEXT(row + 1)                                                                           \
            if (deep) {                                                                                 \
                WIN_NEXT(slice)                                                                         \
                WIN_NEXT(slice + 1)                                                                     \
                WIN_NEXT(slice + row)                                                                   \
                WIN_NEXT(slice + row + 1)                                                               \
            }                                                                                           \
            y[c] = best;                                                                                \
            index[c] = at;                                                                              \
        }                                                                                               \
    }
POOL_PAIRS(pool_pairs_f32, float)
POOL_PAIRS(pool_pairs_f64, double)
#undef POOL_PAIRS
#undef WIN_NEXT

#define POOL_LANES(name, T, pool_pairs)                                                                            \
    INLINE void name##_pairs(const pool_call *p, const T *x, T *y, int32_t *index, const bool deep, const int n) { \
        const dpt_pool_attr *a = p->a;                                                                             \
        for (int64_t i0 = 0; i0 < a->out[0]; i0++)                                                                 \
            for (int64_t i1 = 0; i1 < a->out[1]; i1++) {                                                           \
                const int64_t first = ((deep ? 2 * i0 : i0) * a->in[1] + 2 * i1) * a->in[2];                       \
                for (int64_t i2 = 0; i2 < a->out[2]; i2++, y += p->lanes, index += p->lanes)                       \
                    pool_pairs(p, x + (first + 2 * i2) * p->lanes, y, index, (int32_t)(first + 2 * i2), deep, n);  \
            }                                                                                                      \
    }                                                                                                              \
    INLINE void name(const pool_call *p, const T *x, T *y, int32_t *index, const int n) {                          \
        const dpt_pool_attr *a = p->a;                                                                             \
        box b;                                                                                                     \
        if (are_pairs(a, 1)) {                                                                                     \
            name##_pairs(p, x, y, index, false, n);                                                                \
            return;                                                                                                \
        }                                                                                                          \
        if (are_pairs(a, 2)) {                                                                                     \
            name##_pairs(p, x, y, index, true, n);                                                                 \
            return;                                                                                                \
        }                                                                                                          \
        EACH_WINDOW(a, b) {                                                                                        \
            const int64_t first = corner(a, &b);                                                                   \
            T best[TILE];                                                                                          \
            int32_t at[TILE];                                                                                      \
            for (int c = 0; c < n; c++) best[c] = x[first * p->lanes + c], at[c] = (int32_t)first;                 \
            EACH_ELEMENT(a, b, here) {                                                                             \
                const T *v = x + here * p->lanes;                                                                  \
                _Pragma("omp simd") for (int c = 0; c < n; c++) {                                                  \
                    const bool wins = (v[c] > best[c]) | ((v[c] != v[c]) & (best[c] == best[c]));                  \
                    best[c] = wins ? v[c] : best[c];                                                               \
                    at[c] = wins ? (int32_t)here : at[c];                                                          \
                }                                                                                                  \
            }                                                                                                      \
            for (int c = 0; c < n; c++) y[c] = best[c], index[c] = at[c];                                          \
            y += p->lanes, index += p->lanes;                                                                      \
        }                                                                                                          \
    }
POOL_LANES(pool_lanes_f32, float, pool_pairs_f32)
POOL_LANES(pool_lanes_f64, double, pool_pairs_f64)
#undef POOL_LANES

/* Windows that tile the plane write each element once; others add to zeros. */
static bool tiles_plane(const pool_call *p) {
    const dpt_pool_attr *a = p->a;
    for (int d = 0; d < 3; d++)
        if (a->kernel[d] != a->stride[d] || a->pad[d] != 0 || a->out[d] * a->kernel[d] != a->in[d]) return false;
    return true;
}

#define SCATTER_LANES(name, T)                                                                                     \
    INLINE void name(const pool_call *p, T *x, const T *g, const int32_t *index, const int n) {                    \
        const dpt_pool_attr *a = p->a;                                                                             \
        const bool tiles = tiles_plane(p);                                                                         \
        box b;                                                                                                     \
        for (int64_t i = 0; !tiles && i < p->plane; i++)                                                           \
            for (int c = 0; c < n; c++) x[i * p->lanes + c] = 0;                                                   \
        EACH_WINDOW(a, b) {                                                                                        \
            EACH_ELEMENT(a, b, here) {                                                                             \
                T *to = x + here * p->lanes;                                                                       \
                if (tiles) {                                                                                       \
                    _Pragma("omp simd") for (int c = 0; c < n; c++) to[c] = index[c] == (int32_t)here ? g[c] : 0;  \
                } else {                                                                                           \
                    _Pragma("omp simd") for (int c = 0; c < n; c++) to[c] += index[c] == (int32_t)here ? g[c] : 0; \
                }                                                                                                  \
            }                                                                                                      \
            g += p->lanes, index += p->lanes;                                                                      \
        }                                                                                                          \
    }
SCATTER_LANES(scatter_lanes_f32, float)
SCATTER_LANES(scatter_lanes_f64, double)
#undef SCATTER_LANES

#define GATHER_LANES(name, T)                                                                   \
    INLINE void name(const pool_call *p, const T *x, T *y, const int32_t *index, const int n) { \
        for (int64_t k = 0; k < p->pooled; k++, y += p->lanes, index += p->lanes)               \
            for (int c = 0; c < n; c++) y[c] = x[index[c] * p->lanes + c];                      \
    }
GATHER_LANES(gather_lanes_f32, float)
GATHER_LANES(gather_lanes_f64, double)
#undef GATHER_LANES

/* ---- kernels: all planes of the valid rows ---- */

#define PLANES(name, T, fast, any)                                                                      \
    static void name(void *context, int64_t begin, int64_t end) {                                       \
        const pool_call *p = context;                                                                   \
        const int64_t plane = p->plane, out = p->pooled;                                                \
        const bool use_fast = is_fast(p->a);                                                            \
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
        const int64_t plane = p->plane, out = p->pooled;                                                              \
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
    pool_call p = {.a = &call->attr.pool,
                   .plane = dpt_spatial_of(x),
                   .pooled = dpt_spatial_of(pooled),
                   .channels = x->dim[1],
                   .lanes = dpt_layout_lanes(x->layout, x->dim[1]),
                   .x = x->data,
                   .y = pooled->data,
                   .index = index};
    const bool planes = p.lanes == 1, f64 = x->dtype == DPT_F64;
    const int64_t work = p.plane * tile_of(&p), rows = x->axis < 0 ? x->dim[0] : dpt_valid_rows(call, x);
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
