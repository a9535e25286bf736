/* layout.h: questions about physical layouts, and how a kernel states its wishes to the layout pass. All layouts are
 * one formula: channels stand in blocks of `lanes`, and element (row, c, position) of [rows, C, spatial] is at
 *
 *   row*C*spatial + c/lanes*spatial*lanes + position*lanes + c%lanes
 *
 * with lanes 1 (canonical), C (channels-last), 8 or 16. Both backends include this; it is C11 and C++17. */
#ifndef DPT_BACKEND_LAYOUT_H
#define DPT_BACKEND_LAYOUT_H

#include "backend/kernel.h"

/* Sets of layouts, bit by dpt_layout. */
enum {
    DPT_LAYOUTS_ALL = (1 << DPT_LAYOUT_COUNT) - 1,
    DPT_LAYOUTS_CHANNELS_LAST = 1 << DPT_LAYOUT_CANONICAL | 1 << DPT_LAYOUT_CHANNELS_LAST
};

static inline int64_t dpt_channels_of(const dpt_operand *o) { return o->ndim > 1 ? o->dim[1] : 1; }
/* Positions of a channel in a row. */
static inline int64_t dpt_spatial_of(const dpt_operand *o) {
    int64_t n = 1;
    for (int i = 2; i < o->ndim; i++) n *= o->dim[i];
    return n;
}
/* Channels that stand side by side. */
static inline int64_t dpt_layout_lanes(dpt_layout layout, int64_t channels) {
    switch (layout) {
        case DPT_LAYOUT_CHANNELS_LAST: return channels;
        case DPT_LAYOUT_BLOCKED_8: return 8;
        case DPT_LAYOUT_BLOCKED_16: return 16;
        default: return 1;
    }
}
static inline int64_t dpt_operand_bytes(const dpt_operand *o) { return o->count * (int64_t)dpt_dtype_size(o->dtype); }

/* Whether the operand's channels fill the layout's blocks. */
static inline bool dpt_layout_fills(const dpt_operand *o, dpt_layout layout) {
    return layout == DPT_LAYOUT_CANONICAL || o->dim[1] % dpt_layout_lanes(layout, o->dim[1]) == 0;
}
/* Whether the layout has the bytes of the canonical one. */
static inline bool dpt_layout_is_plain(const dpt_operand *o, dpt_layout layout) {
    if (layout == DPT_LAYOUT_CANONICAL) return true;
    if (o->axis < 0 || o->ndim < 3 || !dpt_layout_fills(o, layout)) return false;
    return dpt_spatial_of(o) == 1 || o->dim[1] == 1;
}
/* Whether the operand may be called by this layout: canonical always, others where they differ from it. */
static inline bool dpt_layout_fits(const dpt_operand *o, dpt_layout layout) {
    if (layout == DPT_LAYOUT_CANONICAL) return true;
    return o->axis >= 0 && o->ndim >= 3 && dpt_layout_fills(o, layout) && !dpt_layout_is_plain(o, layout);
}

static inline void dpt_layouts_take(int64_t cost[DPT_LAYOUT_COUNT], const dpt_operand *o, unsigned takes) {
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++)
        cost[l] = takes >> l & 1 && (dpt_layout_fits(o, (dpt_layout)l) || dpt_layout_is_plain(o, (dpt_layout)l))
                      ? 0
                      : DPT_LAYOUT_NEVER;
}

/* The operands of these bits (inputs, outputs) in any of the layouts `takes`, all of them in the same, at no cost: what
 * works element by element, or channel by channel. A kernel that does better in some adds the cost of the others to one
 * of them afterwards. */
static inline void dpt_layouts_alike(const dpt_call *call, dpt_layout_choice *choice, uint32_t in, uint32_t out,
                                     unsigned takes) {
    for (int k = 0; k < call->n_in; k++)
        if (in >> k & 1) dpt_layouts_take(choice->in[k], &call->in[k], takes);
    for (int k = 0; k < call->n_out; k++)
        if (out >> k & 1) dpt_layouts_take(choice->out[k], &call->out[k], takes);
    choice->alike_in = in;
    choice->alike_out = out;
}

/* One operand by itself, best in `best` (DPT_LAYOUT_COUNT: in one that is none of these); in others the kernel converts
 * it, which reads and writes it once more. */
static inline void dpt_layouts_convert(int64_t cost[DPT_LAYOUT_COUNT], const dpt_operand *o, dpt_layout best) {
    dpt_layouts_take(cost, o, DPT_LAYOUTS_ALL);
    for (int l = 0; l < DPT_LAYOUT_COUNT; l++) {
        const bool plain = dpt_layout_is_plain(o, (dpt_layout)l);
        const bool same = l == (int)best || (best < DPT_LAYOUT_COUNT && plain && dpt_layout_is_plain(o, best));
        if (!same) cost[l] += 2 * dpt_operand_bytes(o);
    }
}

/* Of the reorder kernels: as the node says; what stands in a graph before the layout pass keeps its layouts. */
static inline dpt_status dpt_layouts_of_reorder(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_take(choice->in[0], &call->in[0], 1u << call->in[0].layout);
    dpt_layouts_take(choice->out[0], &call->out[0], 1u << call->attr.reorder.to);
    return DPT_OK;
}

#endif
