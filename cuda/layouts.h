/* layouts.h: what the kernels of this backend say to the layout pass: C order or channels last, and channels last where
 * the tensor cores are fed. Weights, statistics and what sums over positions stay canonical. */
#ifndef DPT_CUDA_LAYOUTS_H
#define DPT_CUDA_LAYOUTS_H

#include "cuda/cuda.h"

extern "C" {
#include "backend/layout.h"
}

/* Element by element: all operands alike, if all have the shape of the result. */
static inline dpt_status dpt_cuda_map_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    for (int k = 0; k < call->n_in; k++)
        if (call->in[k].ndim != call->out[0].ndim || call->in[k].count != call->out[0].count) return DPT_OK;
    dpt_layouts_alike(call, choice, (1u << call->n_in) - 1, 1, DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

/* Pooling: planes and indices alike. */
static inline dpt_status dpt_cuda_pool_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, (1u << call->n_in) - 1, (1u << call->n_out) - 1, DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

/* Batch norm: the operands shaped like the first one. */
static inline dpt_status dpt_cuda_planes_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    uint32_t in = 0, out = 0;
    for (int k = 0; k < call->n_in; k++) in |= (uint32_t)(call->in[k].count == call->in[0].count) << k;
    for (int k = 0; k < call->n_out; k++) out |= (uint32_t)(call->out[k].count == call->in[0].count) << k;
    dpt_layouts_alike(call, choice, in, out, DPT_LAYOUTS_CHANNELS_LAST);
    return DPT_OK;
}

/* Convolution: x and y alike; canonical ones are turned over in the workspace and back, each at its own cost, as one
 * that has no other layout costs nothing. `in` and `out`: which operands x and y are. f64 takes canonical ones only. */
static inline dpt_status dpt_cuda_conv_layouts(const dpt_call *call, dpt_layout_choice *choice, uint32_t in,
                                               uint32_t out) {
    if (call->in[0].dtype == DPT_F64) return DPT_OK;
    dpt_layouts_alike(call, choice, in, out, DPT_LAYOUTS_CHANNELS_LAST);
    for (int k = 0; k < call->n_in; k++)
        if (in >> k & 1) choice->in[k][DPT_LAYOUT_CANONICAL] += 2 * dpt_operand_bytes(&call->in[k]);
    if (out & 1) choice->out[0][DPT_LAYOUT_CANONICAL] += 2 * dpt_operand_bytes(&call->out[0]);
    return DPT_OK;
}

#endif
