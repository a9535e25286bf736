/* pass_precision.c: in which type each value of the forward graph is computed and kept. Gradients are taken afterwards,
 * by rules that follow these types: the gradient of a cast is a cast, and what sums over the batch is f32, so that the
 * f32 gradient of a weight arrives at its f32 master unrounded. fp32 and tf32 change no type (tf32 is an attribute of
 * the calls). bf16 and fp16, for graphs of f32:
 *
 *   products             operands in 16 bits, so results are, but for sums over the batch
 *   along elements       as the operands are: 16 bits if one is and the others are parameters or constants, which get a
 *                        16-bit copy; f32 if one is an f32 value that was computed or put in
 *   arithmetic that leads only to sums over the batch or to what is f32 (losses as they are written)     f32
 *   softmax, batch norm, cross-entropy, sums     take 16-bit values; statistics, losses and sums are wide by their
 * rules everything else      f32 outputs of the program       the type that the user gave them
 *
 * Invariant: a value is cast to a type at most once; views are made of the cast, never cast themselves. */
#include "base/memory.h"
#include "ops/internal.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct narrowing {
    dpt_rewrite rw;
    const char *policy;
    dpt_dtype half;
    dpt_tensor **narrow, **wide; /* by tensor of rw.from: its 16-bit and its f32 form, once made */
    bool *losses;                /* by node: arithmetic that leads to f32 values only */
} narrowing;

static int64_t number(const dpt_tensor *t) { return t->node->id * DPT_MAX_OUT + t->index; }
static dpt_tensor *now(const narrowing *p, const dpt_tensor *old) { return dpt_rewrite_of(&p->rw, old); }

dpt_status dpt_precision_declare(dpt_graph *g, dpt_precision precision) {
    return precision == DPT_PRECISION_FP16 ? dpt_loss_scale_declare(g) : DPT_OK;
}

/* ---- operations ---- */

static dpt_treatment treatment_of(const dpt_node *n) { return dpt_op_of(n)->precision; }

/* A leaf of this kind, or a view of one. */
static bool shows(const dpt_tensor *t, int leaf) {
    const dpt_node *n = t->node;
    while (n->op == DPT_OP_RESHAPE) n = n->in[0]->node;
    return n->op == leaf;
}

/* Sums over the batch, and what takes f32 only. */
static bool takes_wide(const dpt_node *n) {
    bool sums_batch = n->op == DPT_OP_SUM && dpt_has_batch(n->in[0]) && (n->attr.reduce.axes & 1U);
    return sums_batch || treatment_of(n) == DPT_WIDE;
}

/* What takes a parameter belongs to a layer: a bias. */
static bool may_be_loss(const dpt_node *n) {
    for (int k = 0; k < n->n_in; k++)
        if (shows(n->in[k], DPT_OP_PARAM)) return false;
    return treatment_of(n) == DPT_ARITHMETIC || n->op == DPT_OP_SUM;
}

/* Walks back: arithmetic, and sums over other dimensions, whose every use takes f32 or is such arithmetic. */
static void mark_losses(narrowing *p, bool *used, bool *elsewhere) {
    const dpt_graph *from = p->rw.from;
    for (int64_t i = from->n_node - 1; i >= 0; i--) {
        const dpt_node *n = from->node[i];
        p->losses[i] = used[i] && !elsewhere[i] && may_be_loss(n);
        for (int k = 0; k < n->n_in; k++) {
            used[n->in[k]->node->id] = true;
            if (!takes_wide(n) && !p->losses[i]) elsewhere[n->in[k]->node->id] = true;
        }
    }
}

/* ---- the two forms of a value ---- */

static dpt_tensor *form(narrowing *p, dpt_tensor **memo, const dpt_tensor *old, dpt_dtype dtype) {
    dpt_tensor *t = now(p, old);
    if (t->dtype == dtype) return t;
    if (memo[number(old)]) return memo[number(old)];
    const dpt_node *n = old->node;
    if (n->op == DPT_OP_RESHAPE) {
        dpt_tensor *source = form(p, memo, n->in[0], dtype);
        t = dpt_reshape_at(DPT_AT(n), source, old->ndim, old->dim);
    } else {
        t = dpt_cast_at(DPT_AT(n), t, dtype);
    }
    return memo[number(old)] = t;
}

static dpt_tensor *narrow(narrowing *p, const dpt_tensor *old) { return form(p, p->narrow, old, p->half); }
static dpt_tensor *wide(narrowing *p, const dpt_tensor *old) {
    return dpt_is_half(now(p, old)->dtype) ? form(p, p->wide, old, DPT_F32) : now(p, old);
}

/* Whether an operation along elements is in 16 bits: parameters and constants then are by their copies. */
static bool all_narrow(const narrowing *p, const dpt_node *n) {
    bool any = false;
    for (int k = 0; k < n->n_in; k++) {
        dpt_dtype dtype = now(p, n->in[k])->dtype;
        if (dpt_is_half(dtype))
            any = true;
        else if (dpt_is_float(dtype) && !shows(n->in[k], DPT_OP_PARAM) && !shows(n->in[k], DPT_OP_CONSTANT))
            return false;
    }
    return any;
}

static bool operand_is_narrow(const narrowing *p, const dpt_node *n, dpt_treatment how, int k) {
    switch (how) {
        case DPT_PRODUCT: return true;
        case DPT_ARITHMETIC: return !p->losses[n->id] && all_narrow(p, n);
        case DPT_ALONG: return all_narrow(p, n);
        case DPT_AS_IT_COMES: return k == 0 && dpt_is_half(now(p, n->in[0])->dtype);
        case DPT_LIKE_SECOND: return k < 2 && dpt_is_half(now(p, n->in[1])->dtype);
        default: return false;
    }
}

static bool fill_operands(narrowing *p, const dpt_node *n, dpt_tensor **in) {
    dpt_treatment how = treatment_of(n);
    for (int k = 0; k < n->n_in; k++) {
        const dpt_tensor *old = n->in[k];
        if (how == DPT_PRODUCT && old->dtype == DPT_F64) {
            dpt_graph_fail(p->rw.to, DPT_AT(n), DPT_ERR_UNSUPPORTED,
                           "precision %s: %s \"%s\" multiplies f64 values: only f32 is computed in 16 bits", p->policy,
                           dpt_op_of(n)->name, n->name);
            return false;
        }
        if (!dpt_is_float(old->dtype))
            in[k] = now(p, old);
        else
            in[k] = operand_is_narrow(p, n, how, k) ? narrow(p, old) : wide(p, old);
        if (dpt_is_poison(in[k])) return false;
    }
    return true;
}

static void visit(narrowing *p, const dpt_node *n, dpt_tensor **in) {
    if (n->n_in == 0) {
        dpt_rewrite_copy(&p->rw, n);
        return;
    }
    if (!fill_operands(p, n, in)) return;
    if (n->op == DPT_OP_CAST && in[0]->dtype == n->attr.cast.dtype) { /* the type that the value has by now */
        dpt_rewrite_set(&p->rw, &n->out[0], in[0]);
        return;
    }
    dpt_node *copy = dpt_node_add(p->rw.to, DPT_AT(n), n->op, n->name, &n->attr, n->n_in, in);
    if (copy == NULL) return;
    copy->named = n->named;
    for (int i = 0; i < n->n_out; i++) dpt_rewrite_set(&p->rw, &n->out[i], &copy->out[i]);
}

/* ---- the pass ---- */

static dpt_status run(narrowing *p, bool *used, bool *elsewhere) {
    const dpt_graph *from = p->rw.from, *to = p->rw.to;
    int most = 1;
    for (int64_t i = 0; i < from->n_node; i++)
        if (from->node[i]->n_in > most) most = from->node[i]->n_in;
    dpt_tensor **in = dpt_alloc((size_t)most * sizeof *in);
    DPT_CHECK_ALLOC(in);
    mark_losses(p, used, elsewhere);
    for (int64_t i = 0; i < from->n_node && to->status == DPT_OK; i++) visit(p, from->node[i], in);
    for (int64_t i = 0; i < from->n_output && to->status == DPT_OK; i++) {
        const dpt_tensor *old = from->output[i].tensor;
        if (old->dtype == DPT_F32) dpt_rewrite_set(&p->rw, old, wide(p, old));
    }
    dpt_free(in);
    return dpt_graph_status(to);
}

static dpt_status narrow_graph(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    narrowing p = {.policy = dpt_precision_text(o->precision),
                   .half = o->precision == DPT_PRECISION_BF16 ? DPT_BF16 : DPT_F16};
    for (int64_t i = 0; i < from->n_param; i++)
        DPT_CHECK(from->param[i].tensor->dtype == DPT_F32, DPT_ERR_UNSUPPORTED,
                  "precision %s: parameter \"%s\" is %s: only f32 is computed in 16 bits", p.policy,
                  from->param[i].name, dpt_dtype_text(from->param[i].tensor->dtype));
    DPT_TRY(dpt_rewrite_begin(&p.rw, from));
    size_t nodes = (size_t)from->n_node + 1, tensors = nodes * DPT_MAX_OUT;
    p.narrow = dpt_alloc_zero(tensors, sizeof(dpt_tensor *));
    p.wide = dpt_alloc_zero(tensors, sizeof(dpt_tensor *));
    p.losses = dpt_alloc_zero(3 * nodes, sizeof *p.losses);
    dpt_status status = DPT_ERR_MEMORY;
    if (p.narrow && p.wide && p.losses) status = run(&p, p.losses + nodes, p.losses + 2 * nodes);
    dpt_free(p.narrow);
    dpt_free(p.wide);
    dpt_free(p.losses);
    return dpt_rewrite_finish(&p.rw, status, to);
}

dpt_status dpt_pass_precision(const dpt_graph *from, const dpt_program_options *o, dpt_graph **to) {
    if (o->precision == DPT_PRECISION_FP32 || o->precision == DPT_PRECISION_TF32) return dpt_prune(from, to);
    dpt_graph *whole = NULL;
    DPT_TRY(narrow_graph(from, o, &whole));
    dpt_status status = dpt_prune(whole, to);
    dpt_graph_destroy(&whole);
    return status;
}
