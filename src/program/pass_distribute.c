/* pass_distribute.c: how every value stands on the ranks, and the collectives that follow from it.
 *
 * A contraction over the batch leaves each rank with its share of a sum (partial). Where the way on is linear the sum
 * waits: at the end it rides on the exchange of gradients. Where it is not, a forward all-reduce is inserted; under
 * accumulation that is an error, because the sum would have to span micro-batches. The gradient exchange itself is a
 * bucket_start and a bucket_wait for each bucket of the arena; with ZeRO-1 a scatter_start and a scatter_wait, and at
 * the front of the next program a gather_start and a gather_wait of its parameters. Invariant: what is inserted depends
 * on the graph alone, so all ranks start the same collectives in the same order. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct distribute {
    dpt_rewrite rw;
    const dpt_program_options *o;
    const int *uses;      /* of tensors of rw.from */
    dpt_tensor **reduced; /* by tensor of rw.from: its sum over ranks, once made */
} distribute;

static bool is_batch_norm(const dpt_node *n) { return (dpt_op_of(n)->flags & DPT_IS_LOCAL) != 0; }

/* The sum over ranks of a partial value. old: the tensor of rw.from that it stands for. */
static dpt_tensor *reduce(distribute *d, const dpt_tensor *old, dpt_tensor *now, const dpt_node *user) {
    dpt_tensor **memo = &d->reduced[old->node->id * DPT_MAX_OUT + old->index];
    if (*memo) return *memo;
    if (d->o->mode == DPT_MODE_ACCUMULATE && !is_batch_norm(old->node) && user->op != DPT_OP_ALL_REDUCE)
        return dpt_graph_fail(d->rw.to, DPT_AT(user), DPT_ERR_UNSUPPORTED,
                              "%s \"%s\" is not linear in a sum over the batch (%s \"%s\"): it cannot be computed over "
                              "accumulated micro-batches",
                              dpt_op_of(user)->name, user->name, dpt_op_of(old->node)->name, old->node->name);
    dpt_tensor *t = now;
    if (dpt_uses(d->uses, old) > 1 || (dpt_op_of(now->node)->flags & DPT_IS_VIEW)) {
        t = dpt_copy_at(DPT_AT(user), now);
        t->spread = DPT_SPREAD_PARTIAL;
    }
    if (dpt_is_poison(t)) return t;
    dpt_tensor *started = dpt_apply(DPT_AT(user), DPT_OP_SUM_START, NULL, NULL, 1, &t);
    started->spread = DPT_SPREAD_PARTIAL;
    dpt_tensor *sum = dpt_apply(DPT_AT(user), DPT_OP_SUM_WAIT, NULL, NULL, 1, &started);
    if (dpt_is_poison(sum)) return sum;
    sum->spread = DPT_SPREAD_REPLICATED;
    return *memo = sum;
}

/* A pad is linear in x where it adds zeros alone. */
static dpt_linearity linearity_of(const dpt_node *n) {
    if (n->op == DPT_OP_PAD && n->attr.pad.value != 0) return DPT_NONLINEAR;
    return dpt_op_of(n)->linear;
}

/* Whether a partial operand k may stay so, the node's outputs then being partial too. */
static bool may_wait(const dpt_node *n, dpt_tensor *const *in, int k) {
    for (int i = 0; i < n->n_out; i++)
        if (dpt_has_batch(&n->out[i]) || dpt_is_half(n->out[i].dtype)) return false; /* sums are rounded at their end */
    int partial = 0;
    for (int i = 0; i < n->n_in; i++) {
        if (in[i]->spread == DPT_SPREAD_SHARDED || in[i]->spread == DPT_SPREAD_LOCAL) return false;
        partial += in[i]->spread == DPT_SPREAD_PARTIAL;
    }
    switch (linearity_of(n)) {
        case DPT_ADDITIVE: return true;
        case DPT_MULTILINEAR: return partial == 1;
        case DPT_LINEAR_FIRST: return partial == 1 && k == 0;
        case DPT_LINEAR_SECOND: return partial == 1 && k == 1;
        default: return false;
    }
}

/* A replicated value as a share of a sum: rank 0 has it, in the first of accumulated micro-batches. */
static dpt_tensor *once_over_ranks(const dpt_node *n, dpt_tensor *t) {
    dpt_tensor *mine = dpt_root_only_at(DPT_AT(n), t);
    if (!dpt_is_poison(mine)) mine->spread = DPT_SPREAD_PARTIAL;
    return mine;
}

/* Makes the operands fit the op: sums what may not wait, makes replicated addends of partial ones rank 0's. */
static void settle_operands(distribute *d, const dpt_node *n, dpt_tensor **in) {
    for (int k = 0; k < n->n_in; k++)
        if (in[k]->spread == DPT_SPREAD_PARTIAL && !may_wait(n, in, k)) {
            for (int i = 0; i < n->n_in; i++)
                if (in[i]->spread == DPT_SPREAD_PARTIAL) in[i] = reduce(d, n->in[i], in[i], n);
            return;
        }
    bool partial = false;
    for (int k = 0; k < n->n_in; k++) partial |= in[k]->spread == DPT_SPREAD_PARTIAL;
    if (!partial || linearity_of(n) != DPT_ADDITIVE) return;
    for (int k = 0; k < n->n_in; k++)
        if (in[k]->spread == DPT_SPREAD_REPLICATED) in[k] = once_over_ranks(n, in[k]);
}

static dpt_spread leaf_spread(const dpt_graph *g, const dpt_node *n) {
    if (n->op == DPT_OP_STATE)
        return g->state[n->slot].kind == DPT_STATE_LOCAL ? DPT_SPREAD_LOCAL : DPT_SPREAD_REPLICATED;
    return dpt_has_batch(&n->out[0]) ? DPT_SPREAD_SHARDED : DPT_SPREAD_REPLICATED;
}

static dpt_spread spread_of(const dpt_graph *g, const dpt_node *n, const dpt_tensor *out, dpt_tensor *const *in) {
    const dpt_op *op = dpt_op_of(n);
    if (op->flags & DPT_IS_LEAF) return leaf_spread(g, n);
    if (op->flags & DPT_IS_PARTIAL) return DPT_SPREAD_PARTIAL;
    if (op->flags & DPT_IS_LOCAL) return n->attr.norm.sync ? DPT_SPREAD_PARTIAL : DPT_SPREAD_LOCAL;
    if (dpt_has_batch(out)) return DPT_SPREAD_SHARDED;
    dpt_spread spread = DPT_SPREAD_REPLICATED;
    for (int k = 0; k < n->n_in; k++) {
        if (in[k]->spread == DPT_SPREAD_SHARDED || in[k]->spread == DPT_SPREAD_PARTIAL) return DPT_SPREAD_PARTIAL;
        if (in[k]->spread == DPT_SPREAD_LOCAL) spread = DPT_SPREAD_LOCAL;
    }
    return spread;
}

static void check_rule(distribute *d, const dpt_node *n, dpt_tensor *const *in) {
    const dpt_op *op = dpt_op_of(n);
    if (op->rule != DPT_ROWWISE) return;
    for (int k = 0; k < n->n_in; k++)
        if (in[k]->spread == DPT_SPREAD_SHARDED && n->n_out > 0 && !n->out[0].token && !dpt_has_batch(&n->out[0]))
            dpt_graph_fail(d->rw.to, DPT_AT(n), DPT_ERR_SHAPE,
                           "%s \"%s\" loses the batch dimension, but works row by row", op->name, n->name);
}

/* A user's all-reduce: sums what each rank holds. As the gradient of all_reduce_grad its second operand is the x of the
 * all-reduce: the identity where that was a share of a sum. */
static void lower_all_reduce(distribute *d, const dpt_node *n, dpt_tensor *const *operand) {
    dpt_tensor *in = operand[0];
    if (n->n_in == 2 && operand[1]->spread == DPT_SPREAD_PARTIAL) {
        dpt_rewrite_set(&d->rw, &n->out[0], in);
        return;
    }
    if (in->spread == DPT_SPREAD_SHARDED) {
        dpt_graph_fail(d->rw.to, DPT_AT(n), DPT_ERR_SHAPE, "all_reduce \"%s\": %s has a batch dimension", n->name,
                       dpt_shape_text(n->in[0]));
        return;
    }
    if (in->spread == DPT_SPREAD_PARTIAL) {
        dpt_rewrite_set(&d->rw, &n->out[0], reduce(d, n->in[0], in, n));
        return;
    }
    dpt_tensor *copy = dpt_copy_at(DPT_AT(n), in);
    if (dpt_is_poison(copy)) return;
    copy->spread = DPT_SPREAD_PARTIAL;
    dpt_tensor *started = dpt_apply(DPT_AT(n), DPT_OP_SUM_START, NULL, NULL, 1, &copy);
    started->spread = DPT_SPREAD_PARTIAL;
    dpt_tensor *sum = dpt_apply(DPT_AT(n), DPT_OP_SUM_WAIT, n->named ? n->name : NULL, NULL, 1, &started);
    sum->spread = DPT_SPREAD_REPLICATED;
    dpt_rewrite_set(&d->rw, &n->out[0], sum);
}

/* Every rank's g as a share of a sum: of a g that is shared out already, world times as much. Where the x of the
 * all-reduce was a share of a sum, the all-reduce changed no value: the identity. */
static void lower_all_reduce_grad(distribute *d, const dpt_node *n, dpt_tensor *const *operand) {
    dpt_tensor *g = operand[0];
    if (operand[1]->spread != DPT_SPREAD_PARTIAL) {
        if (g->spread == DPT_SPREAD_PARTIAL)
            g = dpt_scale_at(DPT_AT(n), g, d->o->world);
        else
            g = dpt_apply(DPT_AT(n), DPT_OP_ALL_REDUCE_GRAD, n->name, NULL, 1, &g);
        g->spread = DPT_SPREAD_PARTIAL;
    }
    dpt_rewrite_set(&d->rw, &n->out[0], g);
}

/* A state that is assigned to another one: a copy of it, taken before any assignment is made. */
static dpt_tensor *before_the_step(const dpt_node *n, dpt_tensor *value) {
    const dpt_node *source = value->node;
    while (source != NULL && (dpt_op_of(source)->flags & DPT_IS_VIEW)) source = source->in[0]->node;
    if (source == NULL || source->op != DPT_OP_STATE) return value;
    dpt_tensor *copy = dpt_copy_at(DPT_AT(n), value);
    if (!dpt_is_poison(copy)) copy->spread = value->spread;
    return copy;
}

static void settle_assign(distribute *d, const dpt_node *n, dpt_tensor **in) {
    const dpt_state_info *s = &d->rw.from->state[n->attr.slot.index];
    if (in[0]->spread == DPT_SPREAD_PARTIAL) in[0] = reduce(d, n->in[0], in[0], n);
    in[0] = before_the_step(n, in[0]);
    if (s->kind == DPT_STATE_REPLICATED && in[0]->spread == DPT_SPREAD_LOCAL)
        dpt_graph_fail(d->rw.to, DPT_AT(n), DPT_ERR_ARG,
                       "assign \"%s\": the state is replicated, but each rank has a value of its own", s->name);
}

static void settle_store(const dpt_node *n, dpt_tensor **in) {
    if (in[0]->spread == DPT_SPREAD_REPLICATED) in[0] = once_over_ranks(n, in[0]);
}

static void visit(distribute *d, const dpt_node *n, dpt_tensor **in) {
    for (int k = 0; k < n->n_in; k++) in[k] = dpt_rewrite_of(&d->rw, n->in[k]);
    check_rule(d, n, in);
    if (n->op == DPT_OP_ALL_REDUCE) {
        lower_all_reduce(d, n, in);
        return;
    }
    if (n->op == DPT_OP_ALL_REDUCE_GRAD) {
        lower_all_reduce_grad(d, n, in);
        return;
    }
    if (n->op == DPT_OP_GRAD_STORE)
        settle_store(n, in);
    else if (n->op == DPT_OP_ASSIGN)
        settle_assign(d, n, in);
    else if (!(dpt_op_of(n)->flags & (DPT_IS_PARTIAL | DPT_IS_LOCAL)) || is_batch_norm(n))
        settle_operands(d, n, in);
    dpt_node *copy = d->rw.to->status == DPT_OK ? dpt_rewrite_copy_with(&d->rw, n, n->n_in, in) : NULL;
    for (int i = 0; copy && i < copy->n_out; i++) copy->out[i].spread = spread_of(d->rw.from, n, &n->out[i], in);
}

/* What leaves a program must be a value: training sums ride on the exchange, evaluation adds over batches itself. */
static void settle_outputs(distribute *d) {
    if (d->o->mode != DPT_MODE_PREDICT && d->o->mode != DPT_MODE_EVALUATE) return;
    for (int64_t i = 0; i < d->rw.from->n_output; i++) {
        const dpt_tensor *old = d->rw.from->output[i].tensor;
        dpt_tensor *now = dpt_rewrite_of(&d->rw, old);
        bool wanted = d->o->mode == DPT_MODE_PREDICT || now->node->op == DPT_OP_SUM_WAIT;
        if (d->o->mode == DPT_MODE_EVALUATE) {
            size_t n = __builtin_strlen(d->rw.from->output[i].name);
            wanted = n > 7 && __builtin_strcmp(d->rw.from->output[i].name + n - 7, ".scalar") == 0;
        }
        if (wanted && now->spread == DPT_SPREAD_PARTIAL) dpt_rewrite_set(&d->rw, old, reduce(d, old, now, old->node));
    }
}

/* Starts a collective on a bucket after n nodes, and waits for it. bytes: of the count that it is called with. */
static void make_exchange(distribute *d, dpt_op_id start, dpt_op_id wait, int64_t k, int64_t bytes, int n,
                          dpt_tensor *const *in) {
    dpt_attr attr = {.slot = {.index = (int)k, .offset = d->o->arenas->bucket[k].offset, .bytes = bytes}};
    dpt_node *started = dpt_node_add(d->rw.to, __FILE__, __LINE__, start, NULL, &attr, n, in);
    if (started == NULL) return;
    dpt_tensor *token = &started->out[0];
    dpt_node_add(d->rw.to, __FILE__, __LINE__, wait, NULL, &attr, 1, &token);
}

/* Of the bucket's gradients, after every store in it: slices where it is cut and an update follows. */
static void make_bucket(distribute *d, int64_t k, dpt_tensor **in) {
    const dpt_bucket *b = &d->o->arenas->bucket[k];
    dpt_graph *g = d->rw.to;
    int n = 0;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *s = g->node[i];
        if (s->op == DPT_OP_GRAD_STORE && s->attr.slot.offset >= b->offset &&
            s->attr.slot.offset < b->offset + b->bytes)
            in[n++] = &g->node[i]->out[0];
    }
    if (b->slice_bytes > 0 && d->o->mode != DPT_MODE_GRADIENT)
        make_exchange(d, DPT_OP_SCATTER_START, DPT_OP_SCATTER_WAIT, k, b->slice_bytes, n, in);
    else
        make_exchange(d, DPT_OP_BUCKET_START, DPT_OP_BUCKET_WAIT, k, b->bytes, n, in);
}

/* Parameters as the step before has left them, a slice on each rank. What is used first is gathered first. */
static void make_gathers(distribute *d) {
    const dpt_arena_plan *a = d->o->arenas;
    for (int64_t k = a->n_bucket - 1; k >= 0; k--)
        if (a->bucket[k].slice_bytes > 0)
            make_exchange(d, DPT_OP_GATHER_START, DPT_OP_GATHER_WAIT, k, a->bucket[k].slice_bytes, 0, NULL);
}

static dpt_status run(distribute *d) {
    const dpt_graph *from = d->rw.from;
    int most = 1;
    for (int64_t i = 0; i < from->n_node; i++)
        if (from->node[i]->n_in > most) most = from->node[i]->n_in;
    dpt_tensor **in = dpt_alloc((size_t)(most + from->n_param + 1) * sizeof *in);
    DPT_CHECK_ALLOC(in);
    for (int64_t i = 0; i < from->n_node && d->rw.to->status == DPT_OK; i++) visit(d, from->node[i], in);
    if (d->rw.to->status == DPT_OK) settle_outputs(d);
    dpt_mode m = d->o->mode;
    if (d->o->gathers && d->rw.to->status == DPT_OK) make_gathers(d);
    if (m == DPT_MODE_TRAIN || m == DPT_MODE_APPLY || m == DPT_MODE_GRADIENT)
        for (int64_t k = 0; k < d->o->arenas->n_bucket && d->rw.to->status == DPT_OK; k++) make_bucket(d, k, in);
    dpt_free(in);
    return dpt_graph_status(d->rw.to);
}

dpt_status dpt_pass_distribute(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    distribute d = {.o = o};
    DPT_TRY(dpt_rewrite_begin(&d.rw, from));
    dpt_status status = DPT_ERR_MEMORY;
    int *uses = dpt_count_uses(from);
    d.uses = uses;
    d.reduced = dpt_alloc_zero((size_t)from->n_node * DPT_MAX_OUT, sizeof(dpt_tensor *));
    if (uses && d.reduced) status = run(&d);
    dpt_free(uses);
    dpt_free(d.reduced);
    return dpt_rewrite_finish(&d.rw, status, to);
}
