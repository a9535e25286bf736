/* box.h: a box is a block of elements that are copied from one array to another, each by its own steps: what transpose,
 * concat, slice and pad are made of, the same on both backends (C11 and C++17). A box is a loop (loop.h) over two
 * operands, 0 the source and 1 the target, with the offset of its first element in each; only valid rows are walked.
 *
 * Along an axis a box works in every layout: an array in layout L is [rows, channels / lanes, spatial..., lanes]. */
#ifndef DPT_OPS_BOX_H
#define DPT_OPS_BOX_H

#include "backend/layout.h"
#include "base/numbers.h"
#include "ops/loop.h"

typedef struct dpt_box {
    dpt_loop loop; /* length[0]: to be multiplied by the valid rows */
    int64_t from, to;
    int axis; /* the batch axis whose rows count; -1: none */
} dpt_box;

/* Elements of the loop over its first ndim dimensions, but for the valid rows. */
static inline int64_t dpt_box_count(const dpt_box *box, int ndim) {
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= box->loop.length[i];
    return n;
}

/* An operand in C order of its bytes. */
typedef struct dpt_physical {
    int ndim;
    int64_t dim[DPT_MAX_NDIM], step[DPT_MAX_NDIM];
} dpt_physical;

static inline dpt_physical dpt_physical_of(const dpt_operand *o, dpt_layout layout) {
    dpt_physical p;
    int64_t step = 1;
    memset(&p, 0, sizeof p);
    p.ndim = o->ndim;
    for (int i = 0; i < o->ndim; i++) p.dim[i] = o->dim[i];
    if (layout != DPT_LAYOUT_CANONICAL) {
        const int64_t lanes = dpt_layout_lanes(layout, o->dim[1]);
        p.dim[1] = o->dim[1] / lanes;
        p.dim[p.ndim++] = lanes;
    }
    for (int i = p.ndim - 1; i >= 0; i--) {
        p.step[i] = step;
        step *= p.dim[i];
    }
    return p;
}

/* The layout of a call whose operands are alike: of one that is not called canonical. */
static inline dpt_layout dpt_box_layout(const dpt_call *call) {
    dpt_layout layout = call->out[0].layout;
    for (int k = 0; k < call->n_in; k++)
        if (call->in[k].layout != DPT_LAYOUT_CANONICAL) layout = call->in[k].layout;
    return layout;
}

/* `part` is elements first + i step of `whole` along an axis, all of them along the others. The box copies part into
 * whole, or with `out` whole's elements into part. */
static inline dpt_box dpt_box_along(const dpt_operand *part, const dpt_operand *whole, dpt_layout layout, int axis,
                                    int64_t first, int64_t step, bool out) {
    const dpt_physical p = dpt_physical_of(part, layout), w = dpt_physical_of(whole, layout);
    const int small = out ? 1 : 0, large = out ? 0 : 1;
    dpt_operand over = *part;
    dpt_box box;
    int at = axis;
    memset(&box, 0, sizeof box);
    if (axis == 1 && layout == DPT_LAYOUT_CHANNELS_LAST) at = p.ndim - 1;
    if (axis == 1 && layout != DPT_LAYOUT_CHANNELS_LAST && layout != DPT_LAYOUT_CANONICAL)
        first /= dpt_layout_lanes(layout, 1);
    box.axis = part->axis;
    box.loop.operands = 2;
    over.ndim = p.ndim;
    for (int i = 0; i < p.ndim; i++) {
        over.dim[i] = p.dim[i];
        box.loop.step[small][i] = p.step[i];
        box.loop.step[large][i] = w.step[i] * (i == at ? step : 1);
    }
    *(out ? &box.from : &box.to) = first * w.step[at];
    dpt_loop_finish(&box.loop, &over);
    return box;
}

/* The layouts that boxes along an axis work in: for channels in blocks, where they start with whole ones. */
static inline dpt_status dpt_box_layouts(const dpt_call *call, dpt_layout_choice *choice, int axis, int64_t first,
                                         int64_t step, unsigned takes) {
    const dpt_operand *y = &call->out[0];
    if (y->axis < 0 || y->ndim < 3 || y->ndim >= DPT_MAX_NDIM) return DPT_OK;
    if (axis == 1 && (step != 1 || first % 16 != 0)) takes &= ~(1u << DPT_LAYOUT_BLOCKED_16);
    if (axis == 1 && (step != 1 || first % 8 != 0)) takes &= ~(1u << DPT_LAYOUT_BLOCKED_8);
    dpt_layouts_alike(call, choice, (1u << call->n_in) - 1, 1, takes);
    return DPT_OK;
}

/* The boxes of a call. At most DPT_MAX_IN + 2; source[i]: an input, or -1 for the padding's value. Returns how many. */
enum { DPT_BOXES = DPT_MAX_IN + 2 };
static inline dpt_box dpt_box_transpose(const dpt_call *call) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const dpt_physical from = dpt_physical_of(x, DPT_LAYOUT_CANONICAL), to = dpt_physical_of(y, DPT_LAYOUT_CANONICAL);
    dpt_box box;
    memset(&box, 0, sizeof box);
    box.axis = x->axis;
    box.loop.operands = 2;
    for (int i = 0; i < x->ndim; i++) {
        box.loop.step[0][i] = from.step[call->attr.transpose.order[i]];
        box.loop.step[1][i] = to.step[i];
    }
    dpt_loop_finish(&box.loop, y);
    return box;
}

static inline int dpt_boxes_of_concat(const dpt_call *call, dpt_box *box, int *source) {
    const int axis = call->attr.concat.axis;
    int64_t at = 0;
    for (int k = 0; k < call->n_in; k++) {
        box[k] = dpt_box_along(&call->in[k], &call->out[0], dpt_box_layout(call), axis, at, 1, false);
        source[k] = k;
        at += call->in[k].dim[axis];
    }
    return call->n_in;
}

static inline dpt_box dpt_box_of_slice(const dpt_call *call) {
    return dpt_box_along(&call->out[0], &call->in[0], dpt_box_layout(call), call->attr.slice.axis,
                         call->attr.slice.from, call->attr.slice.step, true);
}

/* Padding before and after, or, where x is spread out, everywhere first; then x. */
static inline int dpt_boxes_of_pad(const dpt_call *call, dpt_box *box, int *source) {
    const dpt_operand *x = &call->in[0], *y = &call->out[0];
    const dpt_layout layout = dpt_box_layout(call);
    const int axis = call->attr.pad.axis;
    const int64_t before = call->attr.pad.before, after = call->attr.pad.after, step = call->attr.pad.step;
    const int64_t first[2] = {0, step == 1 ? y->dim[axis] - after : 0};
    const int64_t size[2] = {step == 1 ? before : y->dim[axis], step == 1 ? after : 0};
    int n = 0;
    for (int k = 0; k < 2; k++) {
        dpt_operand part = *y;
        part.dim[axis] = size[k];
        if (size[k] == 0) continue;
        source[n] = -1;
        box[n++] = dpt_box_along(&part, y, layout, axis, first[k], 1, false);
    }
    source[n] = 0;
    box[n++] = dpt_box_along(x, y, layout, axis, before, step, false);
    return n;
}

static inline int dpt_boxes_of_transpose(const dpt_call *call, dpt_box *box, int *source) {
    box[0] = dpt_box_transpose(call);
    source[0] = 0;
    return 1;
}

static inline int dpt_boxes_of_slice(const dpt_call *call, dpt_box *box, int *source) {
    box[0] = dpt_box_of_slice(call);
    source[0] = 0;
    return 1;
}

static inline dpt_status dpt_slice_layouts(const dpt_call *call, dpt_layout_choice *choice, unsigned takes) {
    return dpt_box_layouts(call, choice, call->attr.slice.axis, call->attr.slice.from, call->attr.slice.step, takes);
}
static inline dpt_status dpt_pad_layouts(const dpt_call *call, dpt_layout_choice *choice, unsigned takes) {
    return dpt_box_layouts(call, choice, call->attr.pad.axis, call->attr.pad.before, call->attr.pad.step, takes);
}
static inline dpt_status dpt_concat_layouts(const dpt_call *call, dpt_layout_choice *choice, unsigned takes) {
    return dpt_box_layouts(call, choice, call->attr.concat.axis, 0, 1, takes);
}

/* A value as the bits of a type, lowest first. */
static inline uint64_t dpt_bits_of(dpt_dtype dtype, double value) {
    uint64_t bits = 0;
    switch (dtype) {
        case DPT_F64: memcpy(&bits, &value, sizeof value); break;
        case DPT_F32: bits = dpt_bits_of_f32((float)value); break;
        case DPT_BF16: bits = dpt_bf16_of_f32((float)value); break;
        case DPT_F16: bits = dpt_f16_of_f32((float)value); break;
        default: bits = (uint64_t)(int64_t)value; break;
    }
    return bits;
}

#endif
