/* pass_schedule.c: the order of execution. Nodes keep the order in which they were built (forward, then backward from
 * the loss), but stores of gradients and starts of collectives move up to where their last input is ready, so that an
 * exchange runs under the rest of the backward pass, and waits stay where their result is first needed.
 *
 * At the front stand sums over ranks of what comes from inputs alone (counts of masked losses), their starts side by
 * side, so that they go out as one; then the gathers of parameters (ZeRO-1). Those hang on no node: a bucket's wait
 * comes before the first node that reads a parameter of it, and all of them before an optimiser. */
#include "base/memory.h"
#include "ops/op_list.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct schedule {
    dpt_rewrite rw;
    const dpt_arena_plan *arenas;
    bool *done;
    const dpt_node **early;
    int64_t n_early;
    const dpt_node **gather; /* by bucket: its gather_wait, or NULL */
    int64_t *bucket;         /* by parameter, -1: none */
} schedule;

static bool eager(const dpt_node *n) {
    return n->op == DPT_OP_GRAD_STORE || n->op == DPT_OP_SUM_START || n->op == DPT_OP_BUCKET_START ||
           n->op == DPT_OP_SCATTER_START;
}

static bool lazy(const dpt_node *n) {
    return n->op == DPT_OP_SUM_WAIT || n->op == DPT_OP_BUCKET_WAIT || n->op == DPT_OP_SCATTER_WAIT ||
           n->op == DPT_OP_GATHER_WAIT;
}

static bool ready(const dpt_rewrite *rw, const dpt_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (dpt_rewrite_of(rw, n->in[k]) == NULL) return false;
    return true;
}

static void emit(schedule *s, const dpt_node *n);

/* Whether a node works on parameters where they lie. */
static bool updates(const dpt_node *n) {
    return n->op == DPT_OP_SGD || n->op == DPT_OP_ADAMW || n->op == DPT_OP_TRUST_NORMS || n->op == DPT_OP_TRUST_STEP ||
           n->op == DPT_OP_AVERAGE;
}

/* What a node reads besides its operands: parameters must have come. */
static void emit_gathers(schedule *s, const dpt_node *n) {
    const bool all = updates(n);
    for (int64_t k = 0; all && k < s->arenas->n_bucket; k++)
        if (s->gather[k]) emit(s, s->gather[k]);
    for (int k = 0; k < n->n_in; k++) {
        const dpt_node *p = n->in[k]->node;
        int64_t bucket = p->op == DPT_OP_PARAM ? s->bucket[p->slot] : -1;
        if (bucket >= 0 && s->gather[bucket]) emit(s, s->gather[bucket]);
    }
}

/* Emits a node, before it the waits that it needs. */
static void emit(schedule *s, const dpt_node *n) {
    if (s->done[n->id]) return;
    s->done[n->id] = true;
    emit_gathers(s, n);
    for (int k = 0; k < n->n_in; k++) emit(s, n->in[k]->node);
    dpt_rewrite_copy(&s->rw, n);
}

static void emit_ready(schedule *s) {
    for (int64_t i = 0; i < s->n_early; i++)
        if (!s->done[s->early[i]->id] && ready(&s->rw, s->early[i])) emit(s, s->early[i]);
}

/* Marks nodes whose value comes from inputs and constants alone. */
static void mark_inputs_only(const dpt_graph *g, bool *plain) {
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        bool leaf = dpt_op_of(n)->flags & DPT_IS_LEAF;
        plain[i] = leaf ? n->op == DPT_OP_INPUT || n->op == DPT_OP_CONSTANT : n->n_in > 0 || n->op == DPT_OP_ROWS;
        for (int k = 0; k < n->n_in; k++) plain[i] = plain[i] && plain[n->in[k]->node->id];
        plain[i] = plain[i] && !(dpt_op_of(n)->flags & (DPT_IS_COLLECTIVE | DPT_IS_EFFECT));
    }
}

/* What the starts need first, so that nothing stands between these. */
static void emit_front(schedule *s, const bool *plain) {
    const dpt_graph *g = s->rw.from;
    for (int turn = 0; turn < 2; turn++)
        for (int64_t i = 0; i < g->n_node; i++) {
            const dpt_node *n = g->node[i];
            if (n->op != DPT_OP_SUM_START || !plain[n->in[0]->node->id]) continue;
            emit(s, turn == 0 ? n->in[0]->node : n);
        }
    for (int64_t i = 0; i < g->n_node; i++)
        if (g->node[i]->op == DPT_OP_GATHER_START) emit(s, g->node[i]);
}

static void find_gathers(schedule *s) {
    const dpt_graph *g = s->rw.from;
    const dpt_arena_plan *a = s->arenas;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        if (eager(n)) s->early[s->n_early++] = n;
        if (n->op == DPT_OP_GATHER_WAIT) s->gather[n->attr.slot.index] = n;
    }
    for (int64_t i = 0; i < a->n_param; i++) {
        s->bucket[i] = -1;
        for (int64_t k = 0; k < a->n_bucket; k++)
            if (a->grad[i].offset >= a->bucket[k].offset &&
                a->grad[i].offset < a->bucket[k].offset + a->bucket[k].bytes)
                s->bucket[i] = k;
    }
}

static dpt_status run(schedule *s, const bool *plain) {
    const dpt_graph *from = s->rw.from;
    emit_front(s, plain);
    for (int64_t i = 0; i < from->n_node && s->rw.to->status == DPT_OK; i++) {
        if (lazy(from->node[i])) continue;                /* comes with its first user */
        if (from->node[i]->op == DPT_OP_ASSIGN) continue; /* last: all reads see the value before the step */
        emit(s, from->node[i]);
        emit_ready(s);
    }
    for (int64_t i = 0; i < from->n_node && s->rw.to->status == DPT_OK; i++) emit(s, from->node[i]);
    return dpt_graph_status(s->rw.to);
}

dpt_status dpt_pass_schedule(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    schedule s = {.arenas = o->arenas};
    DPT_TRY(dpt_rewrite_begin(&s.rw, from));
    dpt_status status = DPT_ERR_MEMORY;
    size_t n = (size_t)from->n_node + 1;
    bool *plain = dpt_alloc_zero(n, sizeof *plain);
    s.done = dpt_alloc_zero(n, sizeof *s.done);
    s.early = dpt_alloc_zero(n, sizeof *s.early);
    s.gather = dpt_alloc_zero((size_t)o->arenas->n_bucket + 1, sizeof *s.gather);
    s.bucket = dpt_alloc_zero((size_t)o->arenas->n_param + 1, sizeof *s.bucket);
    if (plain && s.done && s.early && s.gather && s.bucket) {
        find_gathers(&s);
        mark_inputs_only(from, plain);
        status = run(&s, plain);
    }
    dpt_free(plain);
    dpt_free(s.done);
    dpt_free(s.early);
    dpt_free(s.gather);
    dpt_free(s.bucket);
    return dpt_rewrite_finish(&s.rw, status, to);
}
