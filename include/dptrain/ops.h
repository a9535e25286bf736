/* ops.h: the operations of a graph (graph.h): ops_math.h, ops_layers.h, ops_spectral.h, ops_loss.h, and here what concerns ranks. Each
 * is a macro over a function that takes the caller's file and line, so that errors name them. Shapes: B is a batch
 * dimension, C channels, letters any size; [...] any dimensions. Types: f32 and f64 unless said otherwise; operands of
 * one op have one type. Each line says how the op treats the batch: rowwise, reduces (over the samples of all ranks),
 * or mixes. All are Local. */
#ifndef DPTRAIN_OPS_H
#define DPTRAIN_OPS_H

#include "dptrain/ops_layers.h"
#include "dptrain/ops_loss.h"
#include "dptrain/ops_math.h"
#include "dptrain/ops_spectral.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ranks */
/* Sum over ranks of a tensor without a batch dimension that each rank has its own of. */
#define dpt_all_reduce(x) dpt_all_reduce_at(DPT_HERE, x)
DPT_API dpt_tensor *dpt_all_reduce_at(DPT_PLACE_ARGS, dpt_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
