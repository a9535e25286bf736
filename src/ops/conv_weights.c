/* conv_weights.c: see conv_weights.h. A tile holds all K taps of block x block channels. Canonical rows, one a filter
 * and tile, are gone through from begin to end; the tile, a few kilobytes, stays in the first cache meanwhile. */
#include "ops/conv_weights.h"

#include "backend/parallel.h"

enum { MIN_BLOCK = 8, MAX_BLOCK = 16, GRAIN = 16384 };

/* ---- layouts ---- */

/* Tiles of block x block channels, all dimensions whole, taps in C order. */
static bool is_tiled(dpt_conv_weights *w, const dnnl_memory_desc_t *md) {
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    if (md->format_kind != dnnl_blocked || b->inner_nblks != 2 || b->inner_blks[0] != b->inner_blks[1]) return false;
    if (b->inner_idxs[0] + b->inner_idxs[1] != 1 || md->extra.flags != 0 || md->offset0 != 0) return false;
    w->block = b->inner_blks[0];
    w->out_last = b->inner_idxs[1] == 0;
    w->out_stride = b->strides[0];
    w->in_stride = b->strides[1];
    w->k_stride = b->strides[md->ndims - 1];
    int64_t stride = w->k_stride;
    for (int i = md->ndims - 1; i >= 2; stride *= md->dims[i--])
        if (b->strides[i] != stride) return false;
    for (int i = 0; i < md->ndims; i++)
        if (md->padded_dims[i] != md->dims[i]) return false;
    return (w->block == MIN_BLOCK || w->block == MAX_BLOCK) && md->dims[0] % w->block == 0 &&
           md->dims[1] % w->block == 0;
}

bool dpt_conv_weights_open(dpt_conv_weights *w, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                           const dnnl_memory_desc_t *canonical) {
    *w = (dpt_conv_weights){.out = canonical->dims[0], .in = canonical->dims[1], .taps = 1};
    for (int i = 2; i < canonical->ndims; i++) w->taps *= canonical->dims[i];
    w->into_tiles = dnnl_memory_desc_equal(from, canonical);
    return (w->into_tiles || dnnl_memory_desc_equal(to, canonical)) && is_tiled(w, w->into_tiles ? to : from);
}

/* ---- loops ---- */

/* One filter's part of a tile: row [block, taps] and tile [taps, block, block]; `step` is from one input channel of the
 * tile to the next. */
static inline __attribute__((always_inline)) void filter_in(const float *row, float *tile, int64_t block, int64_t taps,
                                                            int64_t step, int64_t k_stride) {
    for (int64_t i = 0; i < block; i++, row += taps)
        for (int64_t k = 0; k < taps; k++) tile[i * step + k * k_stride] = row[k];
}
static inline __attribute__((always_inline)) void filter_out(const float *tile, float *row, int64_t block, int64_t taps,
                                                             int64_t step, int64_t k_stride) {
    for (int64_t i = 0; i < block; i++, row += taps)
        for (int64_t k = 0; k < taps; k++) row[k] = tile[i * step + k * k_stride];
}

static inline __attribute__((always_inline)) void tile_of(const dpt_conv_weights *w, int64_t number, int64_t block,
                                                          int64_t taps) {
    const int64_t across = w->in / block, first = number / across, second = number % across;
    const int64_t at = first * w->out_stride + second * w->in_stride;
    const int64_t step = w->out_last ? block : 1, down = w->out_last ? 1 : block;
    for (int64_t o = 0; o < block; o++) {
        const int64_t row = ((first * block + o) * w->in + second * block) * taps;
        if (w->into_tiles)
            filter_in(w->from + row, w->to + at + o * down, block, taps, step, w->k_stride);
        else
            filter_out(w->from + at + o * down, w->to + row, block, taps, step, w->k_stride);
    }
}

/* Tiles [begin, end); the usual filters get loops of their own. */
static void tiles(void *context, int64_t begin, int64_t end) {
    const dpt_conv_weights *w = context;
    for (int64_t i = begin; i < end; i++)
        if (w->block == MAX_BLOCK && w->taps == 9)
            tile_of(w, i, MAX_BLOCK, 9);
        else if (w->block == MAX_BLOCK && w->taps == 27)
            tile_of(w, i, MAX_BLOCK, 27);
        else if (w->block == MIN_BLOCK && w->taps == 9)
            tile_of(w, i, MIN_BLOCK, 9);
        else
            tile_of(w, i, w->block, w->taps);
}

void dpt_conv_weights_run(const dpt_conv_weights *w, int threads) {
    dpt_conv_weights context = *w;
    const int64_t tile = w->block * w->block * w->taps;
    dpt_parallel(threads, w->out * w->in * w->taps / tile, GRAIN / tile + 1, tiles, &context);
}
