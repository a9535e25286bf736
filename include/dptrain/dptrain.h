/* dptrain.h: all of dptrain's C API.
 *
 *   status.h   what functions return
 *   types.h    element types, arrays, log
 *   context.h  communicator, device, threads of a rank
 *   graph.h    describing a model: inputs, parameters, state, losses
 *   ops.h      its operations
 *   trainer.h  training, evaluating, predicting, saving
 *   data.h     batches of samples that the program holds
 *
 * A whole program: examples/01_mlp_from_memory.c. Valid C11 and C++17. */
#ifndef DPTRAIN_DPTRAIN_H
#define DPTRAIN_DPTRAIN_H

#include "dptrain/context.h"
#include "dptrain/data.h"
#include "dptrain/graph.h"
#include "dptrain/ops.h"
#include "dptrain/status.h"
#include "dptrain/trainer.h"
#include "dptrain/types.h"

#endif
