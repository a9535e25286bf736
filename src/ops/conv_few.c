/* conv_few.c: see conv_few.h.
 *
 *   dw[o,c,k] = sum over n, p of g[n,o,p] x[n, c, p stride + k dilation - pad]
 *
 * A vector holds g of 8 or 16 output channels at one position p; it is multiplied with single numbers of x, one for
 * each tap (c,k). Taps along a line of the filter lie side by side in x, so a tile of up to four filter lines, whose
 * sums all stay in registers, needs four addresses and one load of g for twelve multiply-adds. x is copied with its
 * padding first, so that no tap is a special case: few channels make that cheap. The work is cut into parts of a
 * sample, each with sums of its own, which are added up in order: the cut depends on sizes alone, not on threads. */
#include "ops/conv_few.h"

#include <string.h>

#include "backend/parallel.h"
#include "ops/cpu_dnnl.h"

enum { FEW = 4, TILE_LINES = 4, PART_PLANES = 8, MOST_TAPS = 4 * 343 };

typedef struct context {
    const dpt_conv_sizes *s;
    const float *x, *g;
    float *dw;
    float *padded, *sums;                 /* of a worker, of a part */
    int64_t rows, workers, planes, parts; /* planes a part; parts a sample */
    int64_t deep, high, wide;             /* of a padded part */
    int lanes;
} context;

static int64_t filter_lines(const dpt_conv_sizes *s) { return s->in_channels * s->kernel[0] * s->kernel[1]; }
static int64_t taps_of(const dpt_conv_sizes *s) { return filter_lines(s) * s->kernel[2]; }
static int64_t extent(const dpt_conv_sizes *s, int i, int64_t out) {
    return (out - 1) * s->stride[i] + (s->kernel[i] - 1) * s->dilation[i] + 1;
}

static int lanes_of_processor(void) { return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core ? 16 : 8; }

dpt_layout dpt_conv_few_layout(void) {
    return lanes_of_processor() == 16 ? DPT_LAYOUT_BLOCKED_16 : DPT_LAYOUT_BLOCKED_8;
}

bool dpt_conv_few_takes(const dpt_conv_sizes *s) {
    const int64_t width = s->kernel[2];
    return s->groups == 1 && s->in_channels <= FEW && s->out_channels % lanes_of_processor() == 0 &&
           (width == 3 || width == 5 || width == 7) && s->dilation[2] == 1 && taps_of(s) <= MOST_TAPS;
}

static context context_of(const dpt_conv_sizes *s, int threads) {
    context c = {.s = s, .lanes = lanes_of_processor()};
    c.planes = s->out[0] < PART_PLANES ? s->out[0] : PART_PLANES;
    c.parts = (s->out[0] + c.planes - 1) / c.planes;
    c.deep = extent(s, 0, c.planes);
    c.high = extent(s, 1, s->out[1]);
    c.wide = extent(s, 2, s->out[2]);
    c.workers = s->batch * c.parts < threads ? s->batch * c.parts : threads;
    return c;
}

static int64_t padded_count(const context *c) { return c->s->in_channels * c->deep * c->high * c->wide; }
static int64_t sums_count(const context *c) { return c->s->out_channels * taps_of(c->s); }

size_t dpt_conv_few_workspace(const dpt_conv_sizes *s, int threads) {
    const context c = context_of(s, threads);
    const int64_t count = c.workers * padded_count(&c) + s->batch * c.parts * sums_count(&c);
    return dpt_align((size_t)count * sizeof(float));
}

/* ---- one line of outputs and a tile of filter lines ---- */

typedef float vector8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float vector16 __attribute__((vector_size(64), aligned(4), may_alias));

/* sums[line][k] += sum over p of g[p] x[line][p stride + k], for LINES lines of WIDTH taps. */
#define TILE(name, V, LINES, WIDTH)                                                                           \
    static inline __attribute__((always_inline)) void name(const float *const *x, int64_t stride, const V *g, \
                                                           int64_t n, V *sums) {                              \
        const float *line[LINES];                                                                             \
        V sum[(LINES) * (WIDTH)];                                                                             \
        _Pragma("GCC unroll 4") for (int i = 0; i < (LINES); i++) line[i] = x[i];                             \
        _Pragma("GCC unroll 16") for (int i = 0; i < (LINES) * (WIDTH); i++) sum[i] = sums[i];                \
        for (int64_t p = 0; p < n; p++) {                                                                     \
            const V v = g[p];                                                                                 \
            _Pragma("GCC unroll 4") for (int i = 0; i < (LINES); i++)                                         \
                _Pragma("GCC unroll 8") for (int k = 0; k < (WIDTH); k++) sum[i * (WIDTH) + k] +=             \
                v * line[i][p * stride + k];                                                                  \
        }                                                                                                     \
        _Pragma("GCC unroll 16") for (int i = 0; i < (LINES) * (WIDTH); i++) sums[i] = sum[i];                \
    }

/* Lines of the next tile of at most `most`: no small one is left over where it can be helped. */
static inline int64_t next_tile(int64_t lines, int64_t most) {
    if (lines < most) return lines;
    return most < TILE_LINES || lines == most || lines >= most + 3 ? most : 3;
}

/* All filter lines over one line of outputs, in tiles of at most MOST lines. */
#define LINE(name, V, WIDTH, MOST, ...)                                                                          \
    static inline __attribute__((always_inline)) void name(const float *const *x, int64_t lines, int64_t stride, \
                                                           const V *g, int64_t n, V *sums) {                     \
        while (lines > 0) {                                                                                      \
            const int64_t tile = next_tile(lines, MOST);                                                         \
            switch (tile) { __VA_ARGS__ }                                                                        \
            x += tile, lines -= tile, sums += tile * (WIDTH);                                                    \
        }                                                                                                        \
    }
#define CASE(LINES, name)            \
    case LINES:                      \
        name(x, stride, g, n, sums); \
        break;

#define WIDTHS(L)                                                                                              \
    TILE(tile_##L##_4x3, vector##L, 4, 3)                                                                      \
    TILE(tile_##L##_3x3, vector##L, 3, 3)                                                                      \
    TILE(tile_##L##_2x3, vector##L, 2, 3)                                                                      \
    TILE(tile_##L##_1x3, vector##L, 1, 3)                                                                      \
    TILE(tile_##L##_2x5, vector##L, 2, 5)                                                                      \
    TILE(tile_##L##_1x5, vector##L, 1, 5)                                                                      \
    TILE(tile_##L##_2x7, vector##L, 2, 7)                                                                      \
    TILE(tile_##L##_1x7, vector##L, 1, 7)                                                                      \
    LINE(line_##L##_3, vector##L, 3, 4,                                                                        \
         CASE(4, tile_##L##_4x3) CASE(3, tile_##L##_3x3) CASE(2, tile_##L##_2x3) CASE(1, tile_##L##_1x3))      \
    LINE(line_##L##_5, vector##L, 5, 2, CASE(2, tile_##L##_2x5) CASE(1, tile_##L##_1x5))                       \
    LINE(line_##L##_7, vector##L, 7, 2, CASE(2, tile_##L##_2x7) CASE(1, tile_##L##_1x7))                       \
    DPT_MULTIVERSION static void line_##L(const float *const *x, int64_t lines, int64_t width, int64_t stride, \
                                          const float *g, int64_t n, float *sums) {                            \
        const vector##L *from = (const vector##L *)g;                                                          \
        vector##L *to = (vector##L *)sums;                                                                     \
        if (width == 3 && stride == 1)                                                                         \
            line_##L##_3(x, lines, 1, from, n, to);                                                            \
        else if (width == 3)                                                                                   \
            line_##L##_3(x, lines, stride, from, n, to);                                                       \
        else if (width == 5)                                                                                   \
            line_##L##_5(x, lines, stride, from, n, to);                                                       \
        else                                                                                                   \
            line_##L##_7(x, lines, stride, from, n, to);                                                       \
    }
WIDTHS(8)
WIDTHS(16)

/* ---- a part of a sample ---- */

/* Copies what output planes [first, first + planes) read of a sample, with zeros around it. */
static void pad(const context *c, const float *x, int64_t first, float *to) {
    const dpt_conv_sizes *s = c->s;
    const int64_t left = s->pad[2] < c->wide ? s->pad[2] : c->wide;
    const int64_t take = s->in[2] < c->wide - left ? s->in[2] : c->wide - left;
    for (int64_t ch = 0; ch < s->in_channels; ch++)
        for (int64_t i = 0; i < c->deep; i++)
            for (int64_t j = 0; j < c->high; j++, to += c->wide) {
                const int64_t d = first * s->stride[0] + i - s->pad[0], h = j - s->pad[1];
                if (d < 0 || d >= s->in[0] || h < 0 || h >= s->in[1]) {
                    memset(to, 0, (size_t)c->wide * sizeof *to);
                    continue;
                }
                memset(to, 0, (size_t)left * sizeof *to);
                memcpy(to + left, x + ((ch * s->in[0] + d) * s->in[1] + h) * s->in[2], (size_t)take * sizeof *to);
                memset(to + left + take, 0, (size_t)(c->wide - left - take) * sizeof *to);
            }
}

/* The sums [taps, lanes] of one block of output channels; g is the block's first plane of the part. */
static void add_block(const context *c, const float *padded, const float *g, int64_t planes, float *sums) {
    const dpt_conv_sizes *s = c->s;
    const float *line[MOST_TAPS / 3];
    for (int64_t d = 0; d < planes; d++)
        for (int64_t h = 0; h < s->out[1]; h++, g += s->out[2] * c->lanes) {
            int64_t lines = 0;
            for (int64_t ch = 0; ch < s->in_channels; ch++)
                for (int64_t i = 0; i < s->kernel[0]; i++)
                    for (int64_t j = 0; j < s->kernel[1]; j++)
                        line[lines++] = padded + ((ch * c->deep + d * s->stride[0] + i * s->dilation[0]) * c->high +
                                                  h * s->stride[1] + j * s->dilation[1]) *
                                                     c->wide;
            if (c->lanes == 16)
                line_16(line, lines, s->kernel[2], s->stride[2], g, s->out[2], sums);
            else
                line_8(line, lines, s->kernel[2], s->stride[2], g, s->out[2], sums);
        }
}

static void add_part(const context *c, int64_t part, float *padded) {
    const dpt_conv_sizes *s = c->s;
    const int64_t n = part / c->parts, first = part % c->parts * c->planes;
    const int64_t planes = s->out[0] - first < c->planes ? s->out[0] - first : c->planes;
    const int64_t plane = s->out[1] * s->out[2], volume = s->out[0] * plane;
    float *sums = c->sums + part * sums_count(c);
    pad(c, c->x + n * s->in_channels * s->in[0] * s->in[1] * s->in[2], first, padded);
    memset(sums, 0, (size_t)sums_count(c) * sizeof *sums);
    for (int64_t o = 0; o < s->out_channels; o += c->lanes) {
        const float *g = c->g + (n * s->out_channels + o) * volume + first * plane * c->lanes;
        add_block(c, padded, g, planes, sums + o * taps_of(s));
    }
}

/* Workers [begin, end), each every so many parts. */
static void work(void *p, int64_t begin, int64_t end) {
    const context *c = p;
    for (int64_t w = begin; w < end; w++)
        for (int64_t part = w; part < c->rows * c->parts; part += c->workers)
            add_part(c, part, c->padded + w * padded_count(c));
}

/* dw of output channels [begin, end): the parts' sums [O/lanes, taps, lanes] in order. */
static void add_up(void *p, int64_t begin, int64_t end) {
    const context *c = p;
    const int64_t taps = taps_of(c->s), parts = c->rows * c->parts;
    for (int64_t o = begin; o < end; o++)
        for (int64_t t = 0; t < taps; t++) {
            const float *at = c->sums + (o / c->lanes * taps + t) * c->lanes + o % c->lanes;
            double sum = 0;
            for (int64_t i = 0; i < parts; i++) sum += (double)at[i * sums_count(c)];
            c->dw[o * taps + t] = (float)sum;
        }
}

void dpt_conv_few_wgrad(const dpt_conv_sizes *s, int64_t rows, int threads, const float *x, const float *g, float *dw,
                        void *workspace) {
    context c = context_of(s, threads);
    c.x = x;
    c.g = g;
    c.dw = dw;
    c.rows = rows;
    c.padded = workspace;
    c.sums = c.padded + c.workers * padded_count(&c);
    dpt_parallel(threads, c.workers, 1, work, &c);
    dpt_parallel(threads, s->out_channels, c.lanes, add_up, &c);
}
