/* reorder.c: the same values in another layout (backend/layout.h has the formula). The layout pass makes these nodes;
 * as an op it is closed, its gradient being the way back. Any type: elements are moved by their size.
 *
 * The kernel works on tiles of up to 16 channels of one row: where both sides keep channels together it copies runs of
 * them, else it transposes [channels, positions]. */
#include "backend/layout.h"
#include "ops/declare.h"
#include "ops/internal.h"
#include "ops/map.h"

dpt_tensor *dpt_reorder_at(const char *file, int line, dpt_tensor *x, dpt_layout to) {
    return dpt_apply(file, line, DPT_OP_REORDER, NULL, &(dpt_attr){.reorder = {to}}, 1, &x);
}

static dpt_status reorder_shape(dpt_node *node) {
    const dpt_tensor *x = node->in[0];
    const int64_t lanes = dpt_layout_lanes(node->attr.reorder.to, x->ndim > 1 ? x->dim[1] : 1);
    if (!dpt_has_batch(x) || x->ndim < 3 || x->dim[1] % lanes != 0)
        return dpt_shape_error(node, "x is %s: it must be [B, channels, ...], channels a multiple of %lld",
                               dpt_shape_text(x), (long long)lanes);
    dpt_set_out_like(node, 0, x);
    node->out[0].layout = node->attr.reorder.to;
    return DPT_OK;
}

static void reorder_gradient(dpt_node *node, dpt_tensor *const *gout, const bool *want, dpt_tensor **gin) {
    if (want[0]) gin[0] = dpt_reorder_at(DPT_AT(node), gout[0], node->in[0]->layout);
}

enum { TILE = 16 };

/* A tile: element (channel c, position p) is at c*channel + p*position on either side. */
typedef struct tile {
    const void *from;
    void *to;
    int64_t channels, positions;
    int64_t from_channel, from_position, to_channel, to_position;
} tile;

/* Tiles of 16 and 8 channels with the number known to the compiler, which then moves them in registers. */
#define MOVE_TILE(name, T)                                                                                  \
    static inline __attribute__((always_inline)) void name##_of(const tile *t, const int n) {               \
        const T *restrict from = t->from;                                                                   \
        T *restrict to = t->to;                                                                             \
        const int64_t fc = t->from_channel, fp = t->from_position, tc = t->to_channel, tp = t->to_position; \
        if (fc == 1 && tc == 1) {                                                                           \
            for (int64_t p = 0; p < t->positions; p++)                                                      \
                for (int c = 0; c < n; c++) to[p * tp + c] = from[p * fp + c];                              \
        } else if (tc == 1) {                                                                               \
            for (int64_t p = 0; p < t->positions; p++)                                                      \
                for (int c = 0; c < n; c++) to[p * tp + c] = from[c * fc + p];                              \
        } else {                                                                                            \
            for (int64_t p = 0; p < t->positions; p++)                                                      \
                for (int c = 0; c < n; c++) to[c * tc + p] = from[p * fp + c];                              \
        }                                                                                                   \
    }                                                                                                       \
    DPT_MULTIVERSION static void name(const tile *t) {                                                      \
        if (t->channels == 16)                                                                              \
            name##_of(t, 16);                                                                               \
        else if (t->channels == 8)                                                                          \
            name##_of(t, 8);                                                                                \
        else                                                                                                \
            name##_of(t, (int)t->channels);                                                                 \
    }
MOVE_TILE(move_1, uint8_t)
MOVE_TILE(move_2, uint16_t)
MOVE_TILE(move_4, uint32_t)
MOVE_TILE(move_8, uint64_t)
#undef MOVE_TILE

typedef struct reorder_run {
    const char *from;
    char *to;
    int64_t channels, spatial, size, tile; /* tile: channels */
    int64_t from_lanes, to_lanes;
    void (*move)(const tile *t);
} reorder_run;

/* Elements from a row's start to channel c, which begins a tile. */
static int64_t offset_of(const reorder_run *r, int64_t c, int64_t lanes) {
    return c / lanes * r->spatial * lanes + c % lanes;
}

/* Tiles [begin, end), counted through all rows. */
static void reorder_tiles(void *context, int64_t begin, int64_t end) {
    const reorder_run *r = context;
    const int64_t tiles = (r->channels + r->tile - 1) / r->tile, row_count = r->channels * r->spatial;
    for (int64_t i = begin; i < end; i++) {
        const int64_t row = i / tiles, c = i % tiles * r->tile, left = r->channels - c;
        const tile t = {.from = r->from + (row * row_count + offset_of(r, c, r->from_lanes)) * r->size,
                        .to = r->to + (row * row_count + offset_of(r, c, r->to_lanes)) * r->size,
                        .channels = left < r->tile ? left : r->tile,
                        .positions = r->spatial,
                        .from_channel = r->from_lanes == 1 ? r->spatial : 1,
                        .from_position = r->from_lanes,
                        .to_channel = r->to_lanes == 1 ? r->spatial : 1,
                        .to_position = r->to_lanes};
        r->move(&t);
    }
}

static dpt_status reorder_run_kernel(dpt_call *call, dpt_stream *stream) {
    (void)stream;
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const int64_t channels = dpt_channels_of(x), spatial = dpt_spatial_of(x);
    const bool same = x->layout == y->layout; /* copied in order, whatever the layout */
    reorder_run r = {.from = x->data,
                     .to = y->data,
                     .channels = channels,
                     .spatial = spatial,
                     .size = (int64_t)dpt_dtype_size(x->dtype),
                     .tile = x->layout == DPT_LAYOUT_BLOCKED_8 || y->layout == DPT_LAYOUT_BLOCKED_8 ? 8 : TILE,
                     .from_lanes = same ? channels : dpt_layout_lanes(x->layout, channels),
                     .to_lanes = same ? channels : dpt_layout_lanes(y->layout, channels)};
    r.move = r.size == 1 ? move_1 : r.size == 2 ? move_2 : r.size == 4 ? move_4 : move_8;
    const int64_t tiles = (channels + r.tile - 1) / r.tile;
    dpt_parallel(call->device->threads, dpt_valid_rows(call, x) * tiles, DPT_MAP_GRAIN / (r.tile * spatial) + 1,
                 reorder_tiles, &r);
    return DPT_OK;
}

static double no_flop(const dpt_call *call) {
    (void)call;
    return 0;
}

const dpt_op dpt_op_reorder = {.name = "reorder",
                               .rule = DPT_ROWWISE,
                               .linear = DPT_ADDITIVE,
                               .n_out = 1,
                               .shape = reorder_shape,
                               .gradient = reorder_gradient,
                               .flop = no_flop};
const dpt_kernel dpt_cpu_reorder = {.run = reorder_run_kernel, .layouts = dpt_layouts_of_reorder};
