/* arena.c: grad_read, a look at a place of the gradient arena (attr.slot) after the collective that its input token
 * stands for. It computes nothing. */
#include "ops/declare.h"

static dpt_status grad_read_shape(dpt_node *node) {
    dpt_set_out(node, 0, node->attr.slot.index == 0 ? DPT_F32 : DPT_F64, 0, NULL);
    return DPT_OK;
}

const dpt_op dpt_op_grad_read = {.name = "grad_read",
                                 .flags = DPT_IS_TERMINAL,
                                 .rule = DPT_ROWWISE,
                                 .linear = DPT_NONLINEAR,
                                 .n_out = 1,
                                 .shape = grad_read_shape};
