/* pass_update.c: what follows the exchange of gradients: their norm, the guard (is everything finite? how much is
 * clipped?), an optimiser node a bucket (the fuse pass merges those of one guard), assignments of state hung on the
 * guard. The assignments of fp16's loss scale hang on nothing: it moves because a step was skipped.
 *
 * The norm is summed bucket by bucket, as they arrive, each onto the one before. By bucket, every one has a norm and a
 * guard of its own and is updated at once; the guard over all remains for metrics and states. Sharded, norms are of
 * this rank's slices, and summed over ranks, all of them in one go. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct update {
    dpt_rewrite rw;
    const dpt_program_options *o;
    dpt_tensor **token; /* by bucket: of its bucket_wait or scatter_wait */
    int64_t n_token;
    int64_t n;         /* buckets with parameters, at least one; the loss may stand in one more */
    dpt_tensor **norm; /* by bucket: the square norm of its gradients (by_bucket), or of all up to it */
} update;

static dpt_attr update_attr(const update *u, int64_t k) {
    const dpt_update_rule *r = &u->o->update;
    const dpt_bucket *b = &u->o->arenas->bucket[k];
    return (dpt_attr){.update = {.segment = u->o->arenas->segment + b->first_segment,
                                 .segments = (int)b->segments,
                                 .momentum = r->momentum,
                                 .beta1 = r->beta1,
                                 .beta2 = r->beta2,
                                 .eps = r->eps,
                                 .trust = r->trust,
                                 .average = r->average,
                                 .parameters = u->o->arenas->n_trained,
                                 .coupled = r->kind == DPT_UPDATE_ADAM,
                                 .lamb = r->kind == DPT_UPDATE_LAMB,
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

static dpt_tensor *make_guard(update *u, dpt_tensor *square, dpt_tensor *loss) {
    dpt_tensor *in[3] = {square}, *scale = scale_of(u);
    int n = 1;
    if (loss) in[n++] = loss;
    if (scale) in[n++] = scale;
    dpt_attr clip = {.clip = {.max_norm = u->o->update.clip_norm, .scaled = scale != NULL}};
    return dpt_apply(__FILE__, __LINE__, DPT_OP_GUARD, NULL, &clip, n, in);
}

/* The square norm of what this rank updates of bucket k, added to one before it (NULL: none). */
static dpt_tensor *make_norm(update *u, int64_t k, dpt_tensor *before) {
    dpt_tensor *in[2] = {before, u->token[k]};
    dpt_attr attr = update_attr(u, k);
    return dpt_apply(__FILE__, __LINE__, DPT_OP_SQUARE_NORM, NULL, &attr, before ? 2 : 1, before ? in : in + 1);
}

/* The same of everything, where there is nothing to wait for. */
static dpt_tensor *make_whole_norm(update *u) {
    dpt_attr attr = update_attr(u, 0);
    attr.update.segments = (int)u->o->arenas->n_segment;
    return dpt_apply(__FILE__, __LINE__, DPT_OP_SQUARE_NORM, NULL, &attr, (int)u->n_token, u->token);
}

/* Sums norms [first, u->n) over ranks; started after all exchanges, so that they start together. */
static dpt_status sum_norms(update *u, int64_t first) {
    dpt_tensor **in = dpt_alloc((size_t)(u->n_token + 1) * sizeof *in);
    DPT_CHECK_ALLOC(in);
    for (int64_t i = 0; i < u->n_token; i++) in[1 + i] = u->token[i];
    for (int64_t k = first; k < u->n; k++) {
        in[0] = u->norm[k];
        u->norm[k] = dpt_apply(__FILE__, __LINE__, DPT_OP_SUM_START, NULL, NULL, 1 + (int)u->n_token, in);
    }
    for (int64_t k = first; k < u->n; k++)
        u->norm[k] = dpt_apply(__FILE__, __LINE__, DPT_OP_SUM_WAIT, NULL, NULL, 1, &u->norm[k]);
    dpt_free(in);
    return dpt_graph_status(u->rw.to);
}

static void make_update(update *u, int64_t k, dpt_tensor *guard) {
    int op = u->o->update.kind == DPT_UPDATE_SGD ? DPT_OP_SGD : DPT_OP_ADAMW;
    dpt_attr attr = update_attr(u, k);
    if (u->o->arenas->bucket[k].count > 0) dpt_node_add(u->rw.to, __FILE__, __LINE__, op, NULL, &attr, 1, &guard);
}

/* LARS, LAMB: norms of each parameter, added over ranks where it is cut, and one step of all. */
static void make_trust_update(update *u, dpt_tensor *guard) {
    dpt_attr attr = update_attr(u, 0);
    attr.update.segments = (int)u->o->arenas->n_segment;
    if (attr.update.parameters == 0) return;
    dpt_tensor *in[2] = {guard, dpt_apply(__FILE__, __LINE__, DPT_OP_TRUST_NORMS, NULL, &attr, 1, &guard)};
    if (u->o->arenas->sharded) {
        in[1] = dpt_apply(__FILE__, __LINE__, DPT_OP_SUM_START, NULL, NULL, 1, &in[1]);
        in[1] = dpt_apply(__FILE__, __LINE__, DPT_OP_SUM_WAIT, NULL, NULL, 1, &in[1]);
    }
    dpt_apply(__FILE__, __LINE__, DPT_OP_TRUST_STEP, NULL, &attr, 2, in);
}

/* Averages of bucket k, after what updates it. */
static void make_average(update *u, int64_t k, dpt_tensor *guard) {
    dpt_attr attr = update_attr(u, k);
    if (u->o->update.average > 0 && u->o->arenas->bucket[k].count > 0)
        dpt_node_add(u->rw.to, __FILE__, __LINE__, DPT_OP_AVERAGE, NULL, &attr, 1, &guard);
}

/* All buckets by one guard, which it returns. */
static dpt_tensor *update_together(update *u, dpt_tensor *loss) {
    dpt_graph *g = u->rw.to;
    int64_t last = u->n - 1;
    if (!u->o->exchange)
        u->norm[last] = make_whole_norm(u);
    else
        for (int64_t k = 0; k < u->n; k++) u->norm[k] = make_norm(u, k, k > 0 ? u->norm[k - 1] : NULL);
    if (g->status == DPT_OK && u->o->arenas->sharded) sum_norms(u, last);
    dpt_tensor *guard = make_guard(u, u->norm[last], loss);
    bool trust = u->o->update.kind == DPT_UPDATE_LARS || u->o->update.kind == DPT_UPDATE_LAMB;
    if (trust && g->status == DPT_OK) make_trust_update(u, guard);
    for (int64_t k = 0; k < u->n && !trust && g->status == DPT_OK; k++) make_update(u, k, guard);
    for (int64_t k = 0; k < u->n && g->status == DPT_OK; k++) make_average(u, k, guard);
    return guard;
}

/* Each bucket by a guard of its own; returns the guard over all. */
static dpt_tensor *update_by_bucket(update *u, dpt_tensor *loss) {
    dpt_graph *g = u->rw.to;
    bool sharded = u->o->arenas->sharded;
    for (int64_t k = 0; k < u->n && sharded; k++) u->norm[k] = make_norm(u, k, NULL);
    if (g->status == DPT_OK && sharded) sum_norms(u, 0);
    dpt_tensor *total = NULL;
    for (int64_t k = 0; k < u->n && g->status == DPT_OK; k++) {
        if (!sharded) u->norm[k] = make_norm(u, k, NULL);
        dpt_tensor *guard = make_guard(u, u->norm[k], NULL);
        make_update(u, k, guard);
        make_average(u, k, guard);
        total = total ? dpt_add_at(__FILE__, __LINE__, total, u->norm[k]) : u->norm[k];
    }
    return g->status == DPT_OK ? make_guard(u, total, loss) : &g->poison;
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
    dpt_tensor *guard = u->o->update.by_bucket ? update_by_bucket(u, loss) : update_together(u, loss);
    DPT_TRY(dpt_graph_status(g));
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
    u.norm = dpt_alloc_zero((size_t)o->arenas->n_bucket + 1, sizeof(dpt_tensor *));
    DPT_CHECK_ALLOC_GOTO(u.token, fail);
    DPT_CHECK_ALLOC_GOTO(u.norm, fail);
    for (int64_t i = 0; i < from->n_node; i++) {
        const dpt_node *n = from->node[i];
        if (n->op == DPT_OP_ASSIGN) continue;
        dpt_node *copy = dpt_rewrite_copy(&u.rw, n);
        if (copy == NULL) break;
        if (n->op == DPT_OP_BUCKET_WAIT || n->op == DPT_OP_SCATTER_WAIT) u.token[u.n_token++] = &copy->out[0];
    }
    u.n = u.n_token > 1 && o->arenas->bucket[u.n_token - 1].count == 0 ? u.n_token - 1 : u.n_token;
    status = dpt_graph_status(u.rw.to);
    if (status == DPT_OK) status = append(&u);
fail:
    dpt_free(u.token);
    dpt_free(u.norm);
    return dpt_rewrite_finish(&u.rw, status, to);
}
