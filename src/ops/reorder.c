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

/* As it is: what stands in the graph before the layout pass keeps its layouts. */
static dpt_status reorder_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_take(choice->in[0], &call->in[0], 1u << call->in[0].layout);
    dpt_layouts_take(choice->out[0], &call->out[0], 1u << call->attr.reorder.to);
    return DPT_OK;
}

enum { TILE = 16 };

/* A tile: element (channel c, position p) is at c*channel + p*position on either side. */
typedef struct tile {
    const void *from;
    void *to;
    int64_t channels, positions;
    int64_t from_channel, from_position, to_channel, to_position;
} tile;

#define MOVE_TILE(name, T)                                                                                         \
    DPT_MULTIVERSION static void name##_gather(const T *restrict from, T *restrict to, const tile *t) {            \
        const int64_t n = t->positions, fc = t->from_channel, tp = t->to_position;                                 \
        for (int64_t p = 0; p < n; p++)                                                                            \
            for (int c = 0; c < TILE; c++) to[p * tp + c] = from[c * fc + p];                                      \
    }                                                                                                              \
    DPT_MULTIVERSION static void name##_spread(const T *restrict from, T *restrict to, const tile *t) {            \
        const int64_t n = t->positions, fp = t->from_position, tc = t->to_channel;                                 \
        for (int64_t p = 0; p < n; p++)                                                                            \
            for (int c = 0; c < TILE; c++) to[c * tc + p] = from[p * fp + c];                                      \
    }                                                                                                              \
    static void name(const tile *t) {                                                                              \
        const T *from = t->from;                                                                                   \
        T *to = t->to;                                                                                             \
        if (t->channels == TILE && t->from_position == 1 && t->to_channel == 1) {                                  \
            name##_gather(from, to, t);                                                                            \
        } else if (t->channels == TILE && t->from_channel == 1 && t->to_position == 1) {                           \
            name##_spread(from, to, t);                                                                            \
        } else {                                                                                                   \
            for (int64_t p = 0; p < t->positions; p++)                                                             \
                for (int64_t c = 0; c < t->channels; c++)                                                          \
                    to[c * t->to_channel + p * t->to_position] = from[c * t->from_channel + p * t->from_position]; \
        }                                                                                                          \
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
    reorder_run r = {.from = x->data,
                     .to = y->data,
                     .channels = channels,
                     .spatial = spatial,
                     .size = (int64_t)dpt_dtype_size(x->dtype),
                     .tile = x->layout == DPT_LAYOUT_BLOCKED_8 || y->layout == DPT_LAYOUT_BLOCKED_8 ? 8 : TILE,
                     .from_lanes = dpt_layout_lanes(x->layout, channels),
                     .to_lanes = dpt_layout_lanes(y->layout, channels)};
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
const dpt_kernel dpt_cpu_reorder = {.run = reorder_run_kernel, .layouts = reorder_layouts};
