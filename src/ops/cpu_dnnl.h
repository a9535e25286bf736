/* cpu_dnnl.h: oneDNN for CPU kernels: a primitive together with its operands, made once, bound to addresses, run often.
 *
 *   dpt_dnnl p = {0};
 *   DPT_TRY_GOTO(dpt_dnnl_open(&p, threads, &desc, NULL, 0), fail);     shapes are known
 *   DPT_TRY_GOTO(dpt_dnnl_operand(&p, DNNL_ARG_SRC, md), fail);
 *   dpt_dnnl_bind(&p, DNNL_ARG_SRC, x); dpt_dnnl_bind(&p, DNNL_ARG_SCRATCHPAD, workspace);
 *   DPT_TRY(dpt_dnnl_run(&p, threads));
 *   dpt_dnnl_close(&p);
 *
 * Invariants: the engine and stream are the process's and are never freed; oneDNN allocates nothing in a run, its
 * scratchpad is the caller's (dpt_dnnl_scratch_bytes); the number of threads is the same when a primitive is made and
 * run, and OpenMP's own setting is left as it was. */
#ifndef DPT_OPS_CPU_DNNL_H
#define DPT_OPS_CPU_DNNL_H

#include <oneapi/dnnl/dnnl.h>

#include "backend/kernel.h"

/* A failure of oneDNN as ours, with the call in the message. */
#define DPT_DNNL(call) dpt_dnnl_status((call), #call)
dpt_status dpt_dnnl_status(dnnl_status_t status, const char *call);

enum { DPT_DNNL_OPERANDS = 6 };

typedef struct dpt_dnnl {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    int n; /* operands; the scratchpad, if there is one, is the first */
    dnnl_exec_arg_t operand[DPT_DNNL_OPERANDS];
} dpt_dnnl;

/* Makes the primitive of an operation descriptor; hint is the forward primitive's descriptor for backward ones, or
 * NULL. slope > 0: with a leaky ReLU of the result, which keeps NaN; slope 0: without, for oneDNN's ReLU does not. On
 * failure p is closed. */
dpt_status dpt_dnnl_open(dpt_dnnl *p, int threads, const_dnnl_op_desc_t operation, const_dnnl_primitive_desc_t hint,
                         double slope);
/* Copies `from` to `to` between layouts. */
dpt_status dpt_dnnl_open_reorder(dpt_dnnl *p, int threads, const dnnl_memory_desc_t *from,
                                 const dnnl_memory_desc_t *to);
/* Adds the operand DNNL_ARG_..., of layout md, without an address. */
dpt_status dpt_dnnl_operand(dpt_dnnl *p, int argument, const dnnl_memory_desc_t *md);
size_t dpt_dnnl_scratch_bytes(const dpt_dnnl *p);
/* Gives an operand its address; nothing where p has no such operand. */
dpt_status dpt_dnnl_bind(dpt_dnnl *p, int argument, void *data);
dpt_status dpt_dnnl_run(const dpt_dnnl *p, int threads);
void dpt_dnnl_close(dpt_dnnl *p);

/* The C-order layout of f32 dimensions. */
dpt_status dpt_dnnl_plain(dnnl_memory_desc_t *md, int ndim, const int64_t *dim);

/* A primitive descriptor alone, as hint of backward primitives; freed by dnnl_primitive_desc_destroy. */
dpt_status dpt_dnnl_describe(dnnl_primitive_desc_t *desc, int threads, const_dnnl_op_desc_t operation,
                             const_dnnl_primitive_desc_t hint, double slope);

/* Zeros the rows of an operand that are not valid in this run: before library calls of fixed shape that contract over
 * the batch. */
void dpt_cpu_zero_padding(const dpt_call *call, const dpt_operand *o);

#endif
