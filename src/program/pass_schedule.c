/* pass_schedule.c: the order of execution. Nodes keep the order in which they were built (forward, then backward from
 * the loss), but stores of gradients and starts of collectives move up to where their last input is ready, so that an
 * exchange runs under the rest of the backward pass, and waits stay where their result is first needed. */
#include "base/memory.h"
#include "ops/op_list.h"
#include "program/program.h"
#include "program/rewrite.h"

static bool eager(const dpt_node *n) {
    return n->op == DPT_OP_GRAD_STORE || n->op == DPT_OP_SUM_START || n->op == DPT_OP_BUCKET_START;
}

static bool lazy(const dpt_node *n) { return n->op == DPT_OP_SUM_WAIT || n->op == DPT_OP_BUCKET_WAIT; }

static bool ready(const dpt_rewrite *rw, const dpt_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (dpt_rewrite_of(rw, n->in[k]) == NULL) return false;
    return true;
}

/* Emits a node, before it the waits that it needs. */
static void emit(dpt_rewrite *rw, const dpt_node *n, bool *done) {
    if (done[n->id]) return;
    for (int k = 0; k < n->n_in; k++)
        if (!done[n->in[k]->node->id]) emit(rw, n->in[k]->node, done);
    done[n->id] = true;
    dpt_rewrite_copy(rw, n);
}

static void emit_ready(dpt_rewrite *rw, const dpt_node *const *early, int64_t n_early, bool *done) {
    for (int64_t i = 0; i < n_early; i++)
        if (!done[early[i]->id] && ready(rw, early[i])) emit(rw, early[i], done);
}

dpt_status dpt_pass_schedule(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    (void)o;
    dpt_rewrite rw;
    DPT_TRY(dpt_rewrite_begin(&rw, from));
    dpt_status status = DPT_ERR_MEMORY;
    bool *done = dpt_alloc_zero((size_t)from->n_node + 1, sizeof *done);
    const dpt_node **early = dpt_alloc_zero((size_t)from->n_node + 1, sizeof *early);
    if (done && early) {
        int64_t n_early = 0;
        for (int64_t i = 0; i < from->n_node; i++)
            if (eager(from->node[i])) early[n_early++] = from->node[i];
        for (int64_t i = 0; i < from->n_node && rw.to->status == DPT_OK; i++) {
            if (lazy(from->node[i])) continue;                /* comes with its first user */
            if (from->node[i]->op == DPT_OP_ASSIGN) continue; /* last: all reads see the value before the step */
            emit(&rw, from->node[i], done);
            emit_ready(&rw, early, n_early, done);
        }
        for (int64_t i = 0; i < from->n_node && rw.to->status == DPT_OK; i++) emit(&rw, from->node[i], done);
        status = DPT_OK;
    }
    dpt_free(done);
    dpt_free(early);
    return dpt_rewrite_finish(&rw, status, to);
}
