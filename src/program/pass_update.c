/* pass_update.c: what follows the exchange of gradients: their norm, the guard (is everything finite? how much is
 * clipped?), one optimiser node per parameter (the fuse pass merges them), assignments of state hung on the guard. The
 * assignments of fp16's loss scale hang on nothing: it moves because a step was skipped. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct update {
    dpt_rewrite rw;
    const dpt_program_options *o;
    dpt_tensor **token; /* of every bucket_wait */
    int n_token;
} update;

static dpt_attr update_attr(const update *u, int64_t first, int64_t count) {
    const dpt_update_rule *r = &u->o->update;
    return (dpt_attr){.update = {.segment = u->o->arenas->segment + first,
                                 .segments = (int)count,
                                 .momentum = r->momentum,
                                 .beta1 = r->beta1,
                                 .beta2 = r->beta2,
                                 .eps = r->eps,
                                 .nesterov = r->nesterov}};
}

/* The loss of the step after its exchange. */
static dpt_tensor *read_loss(update *u) {
    const dpt_arena_plan *a = u->o->arenas;
    dpt_attr attr = {.slot = {.index = a->loss_dtype == DPT_F64, .offset = a->loss.offset, .bytes = a->loss.bytes}};
    dpt_node *n =
        dpt_node_add(u->rw.to, __FILE__, __LINE__, DPT_OP_GRAD_READ, "loss", &attr, 1, &u->token[u->n_token - 1]);
    return n ? &n->out[0] : &u->rw.to->poison;
}

/* fp16: the scale that the gradients carry; else NULL. */
static dpt_tensor *scale_of(const update *u) {
    if (u->o->precision != DPT_PRECISION_FP16) return NULL;
    return dpt_rewrite_of(&u->rw, dpt_loss_scale_value(u->rw.from));
}

static dpt_tensor *make_guard(update *u, dpt_tensor *loss) {
    dpt_graph *g = u->rw.to;
    dpt_attr norm_attr = update_attr(u, 0, u->o->arenas->n_segment);
    dpt_node *norm = dpt_node_add(g, __FILE__, __LINE__, DPT_OP_SQUARE_NORM, NULL, &norm_attr, u->n_token, u->token);
    if (norm == NULL) return &g->poison;
    dpt_tensor *in[3] = {&norm->out[0], loss, scale_of(u)};
    dpt_attr clip = {.clip = {.max_norm = u->o->update.clip_norm, .scaled = in[2] != NULL}};
    return dpt_apply(__FILE__, __LINE__, DPT_OP_GUARD, NULL, &clip, in[2] ? 3 : 2, in);
}

static void assign_always(update *u, dpt_tensor *state, dpt_tensor *value) {
    dpt_attr attr = {.slot = {.index = state->node->slot}};
    dpt_node_add(u->rw.to, __FILE__, __LINE__, DPT_OP_ASSIGN, state->node->name, &attr, 1, &value);
}

static void move_scale(update *u, dpt_tensor *guard) {
    dpt_tensor *steps = dpt_rewrite_of(&u->rw, dpt_loss_scale_steps(u->rw.from));
    dpt_tensor *in[3] = {guard, scale_of(u), steps};
    if (in[1] == NULL || steps == NULL) return;
    dpt_node *next = dpt_node_add(u->rw.to, __FILE__, __LINE__, DPT_OP_SCALE_UPDATE, NULL, NULL, 3, in);
    if (next == NULL) return;
    assign_always(u, in[1], &next->out[0]);
    assign_always(u, steps, &next->out[1]);
}

static dpt_status append(update *u) {
    dpt_graph *g = u->rw.to;
    const dpt_graph *from = u->rw.from;
    dpt_tensor *loss = read_loss(u);
    DPT_TRY(dpt_graph_status(g));
    if (u->o->mode == DPT_MODE_GRADIENT) return dpt_graph_add_output(g, "loss", loss);
    dpt_tensor *guard = make_guard(u, loss);
    DPT_TRY(dpt_graph_status(g));
    int op = u->o->update.kind == DPT_UPDATE_ADAMW ? DPT_OP_ADAMW : DPT_OP_SGD;
    for (int64_t k = 0; k < u->o->arenas->n_segment; k++) {
        dpt_attr attr = update_attr(u, k, 1);
        dpt_node_add(g, __FILE__, __LINE__, op, NULL, &attr, 1, &guard);
    }
    for (int64_t i = 0; i < from->n_node; i++) {
        const dpt_node *n = from->node[i];
        dpt_tensor *in[2] = {n->op == DPT_OP_ASSIGN ? dpt_rewrite_of(&u->rw, n->in[0]) : NULL, guard};
        if (n->op == DPT_OP_ASSIGN) dpt_rewrite_copy_with(&u->rw, n, 2, in);
    }
    if (u->o->mode == DPT_MODE_APPLY && u->o->arenas->n_state > 0)
        dpt_node_add(g, __FILE__, __LINE__, DPT_OP_STATE_RESTORE, NULL, NULL, 1, &guard);
    move_scale(u, guard);
    DPT_TRY(dpt_graph_status(g));
    DPT_TRY(dpt_graph_add_output(g, "loss", loss));
    return dpt_graph_add_output(g, "guard", guard);
}

dpt_status dpt_pass_update(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    update u = {.o = o};
    DPT_TRY(dpt_rewrite_begin(&u.rw, from));
    dpt_status status = DPT_OK;
    u.token = dpt_alloc_zero((size_t)o->arenas->n_bucket + 1, sizeof(dpt_tensor *));
    DPT_CHECK_ALLOC_GOTO(u.token, fail);
    for (int64_t i = 0; i < from->n_node; i++) {
        const dpt_node *n = from->node[i];
        if (n->op == DPT_OP_ASSIGN) continue;
        dpt_node *copy = dpt_rewrite_copy(&u.rw, n);
        if (copy == NULL) break;
        if (n->op == DPT_OP_BUCKET_WAIT) u.token[u.n_token++] = &copy->out[0];
    }
    status = dpt_graph_status(u.rw.to);
    if (status == DPT_OK) status = append(&u);
fail:
    dpt_free(u.token);
    return dpt_rewrite_finish(&u.rw, status, to);
}
