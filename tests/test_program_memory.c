/* test_program_memory.c: where things lie: arenas in their documented order, no two tensors that live at the same time
 * in the same bytes (checked pair by pair, without the pass's own bookkeeping), state that keeps its value until the
 * end of a step. */
#include "base/memory.h"
#include "graph/op.h"
#include "ops/op_list.h"
#include "program_models.h"

static const dpt_mode modes[] = {DPT_MODE_TRAIN,    DPT_MODE_GRADIENT, DPT_MODE_ACCUMULATE, DPT_MODE_APPLY,
                                 DPT_MODE_EVALUATE, DPT_MODE_PREDICT,  DPT_MODE_COUNT};

static bool compiles(const program_model *m, dpt_mode mode) {
    static const char *const not_accumulated[] = {"relative", "centred", "states"};
    for (int i = 0; i < 3; i++)
        if (mode == DPT_MODE_ACCUMULATE && strcmp(m->name, not_accumulated[i]) == 0) return false;
    return true;
}

/* ---- lifetimes ---- */

static bool is_view(const dpt_node *n) { return (dpt_op_of(n)->flags & DPT_IS_VIEW) && !n->out[0].token; }

/* The tensor whose bytes a chain of views shows. */
static const dpt_tensor *shown_by(const dpt_tensor *t) {
    while (t->index == 0 && is_view(t->node)) t = t->node->in[0];
    return t;
}

/* Last node that reads t or a view of it; the end for what a program hands out. */
static int64_t last_read(const dpt_graph *g, const dpt_tensor *t) {
    int64_t last = t->node->id;
    for (int64_t i = 0; i < g->n_output; i++)
        if (shown_by(g->output[i].tensor) == t) return INT64_MAX;
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_in; k++)
            if (shown_by(g->node[i]->in[k]) == t) last = i;
    return last;
}

static bool overlap(const dpt_storage *a, const dpt_storage *b) {
    return a->region == b->region && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* Whether making b may write over a, which is read for the last time by `last`. */
static bool may_overwrite(const dpt_program *p, const dpt_tensor *a, int64_t last, const dpt_tensor *b) {
    const dpt_node *n = b->node;
    if (last < n->id) return true;
    if (last > n->id || b->index != 0 || !(dpt_op_of(n)->flags & DPT_IS_INPLACE)) return false;
    const dpt_storage *x = dpt_storage_of(p, a), *y = dpt_storage_of(p, b);
    return shown_by(n->in[0]) == a && x->offset == y->offset && x->bytes == y->bytes && a->dtype == b->dtype;
}

typedef struct tensor_list {
    const dpt_tensor **t;
    int64_t *last;
    int64_t n;
} tensor_list;

/* Tensors with bytes of their own that are made while the program runs, or before it (inputs). */
static tensor_list tensors_of(const dpt_program *p) {
    const dpt_graph *g = p->graph;
    tensor_list l = {.t = dpt_alloc((size_t)(g->n_node * DPT_MAX_OUT + 1) * sizeof *l.t)};
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_out; k++) {
            const dpt_tensor *t = &g->node[i]->out[k];
            if (!t->token && !is_view(t->node) && dpt_storage_of(p, t)->region == DPT_IN_ACTIVATIONS) l.t[l.n++] = t;
        }
    l.last = dpt_alloc((size_t)(l.n + 1) * sizeof *l.last);
    for (int64_t i = 0; i < l.n; i++) l.last[i] = last_read(g, l.t[i]);
    return l;
}

static void check_pair(const char *name, const dpt_program *p, const tensor_list *l, int64_t i, int64_t j) {
    const dpt_tensor *a = l->t[i], *b = l->t[j];
    if (!overlap(dpt_storage_of(p, a), dpt_storage_of(p, b))) return;
    bool ok = a->node != b->node && may_overwrite(p, a, l->last[i], b);
    if (a->node->op == DPT_OP_INPUT && b->node->op == DPT_OP_INPUT) ok = false; /* both are there from the start */
    check_that(ok, __FILE__, __LINE__, "%s, mode %d: \"%s\" is overwritten by \"%s\" while it is needed", name,
               (int)p->options.mode, a->node->name, b->node->name);
}

/* Inputs are written before the first node: nothing made earlier in the list may overlap them. */
static void check_lifetimes(const char *name, const dpt_program *p) {
    tensor_list l = tensors_of(p);
    for (int64_t i = 0; i < l.n; i++) {
        const dpt_storage *s = dpt_storage_of(p, l.t[i]);
        CHECK(s->offset % DPT_ALIGNMENT == 0 && s->offset + s->bytes <= p->activation_bytes);
        for (int64_t j = i + 1; j < l.n; j++) {
            const bool later_input = l.t[j]->node->op == DPT_OP_INPUT && l.t[i]->node->op != DPT_OP_INPUT;
            if (later_input)
                check_that(!overlap(s, dpt_storage_of(p, l.t[j])) || l.last[j] < l.t[i]->node->id, __FILE__, __LINE__,
                           "%s: input \"%s\" is overwritten", name, l.t[j]->node->name);
            else
                check_pair(name, p, &l, i, j);
        }
    }
    dpt_free(l.t);
    dpt_free(l.last);
}

/* Views stand where they show; parameters, states and stored gradients where the plan says. */
static void check_places(const char *name, const dpt_program *p) {
    const dpt_arena_plan *a = p->options.arenas;
    for (int64_t i = 0; i < p->graph->n_node; i++) {
        const dpt_node *n = p->graph->node[i];
        const dpt_storage *s = &p->storage[i * DPT_MAX_OUT];
        bool ok = true;
        if (n->op == DPT_OP_PARAM) ok = s->region == DPT_IN_PARAMS && s->offset == a->param[n->slot].offset;
        if (n->op == DPT_OP_STATE) ok = s->region == DPT_IN_STATE && s->offset == a->state[n->slot].offset;
        if (n->op == DPT_OP_GRAD_STORE) ok = s->region == DPT_IN_GRADS && s->offset == n->attr.slot.offset;
        if (n->op == DPT_OP_GRAD_STORE && p->elided[i]) {
            const dpt_storage *from = dpt_storage_of(p, n->in[0]);
            ok = ok && from->region == DPT_IN_GRADS && from->offset == s->offset;
        }
        if (is_view(n)) {
            const dpt_storage *of = dpt_storage_of(p, shown_by(&n->out[0]));
            ok = s->region == of->region && s->offset == of->offset;
        }
        check_that(ok, __FILE__, __LINE__, "%s: \"%s\" lies in region %d at %lld", name, n->name, (int)s->region,
                   (long long)s->offset);
    }
}

static void lifetimes(void) {
    for (int m = 0; m < program_model_count; m++)
        for (int k = 0; k < 7 * 4; k++) {
            program_run r;
            const program_choice choice = {.mode = modes[k / 4], .world = k & 1 ? 4 : 1, .unfused = k & 2};
            if (!compiles(&program_models[m], choice.mode)) continue;
            if (!program_open(&r, &program_models[m], &choice)) continue;
            check_lifetimes(program_models[m].name, r.program);
            check_places(program_models[m].name, r.program);
            program_close(&r);
        }
}

/* Bytes are reused at all: an mlp's arena is smaller than its tensors together. */
static void reuse(void) {
    program_run r;
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 1, .unfused = true};
    if (!program_open(&r, program_model_find("mlp"), &choice)) return;
    tensor_list l = tensors_of(r.program);
    int64_t sum = 0;
    for (int64_t i = 0; i < l.n; i++) sum += (int64_t)dpt_align((size_t)dpt_storage_of(r.program, l.t[i])->bytes);
    CHECK(l.n > 20 && r.program->activation_bytes < sum * 3 / 4);
    dpt_free(l.t);
    dpt_free(l.last);
    program_close(&r);
}

/* ---- arenas ---- */

static const char *const mlp_order[] = {"fc4.bias", "fc4.weight", "fc3.bias", "fc3.weight",
                                        "fc2.bias", "fc2.weight", "fc1.bias", "fc1.weight"};

/* The reverse of first use, aligned, without gaps; gradients of what is trained in the same order, the loss last. */
static void check_arenas(const program_run *r, bool frozen_bias) {
    const dpt_arena_plan *a = &r->plan;
    int64_t param_end = 0, grad_end = 0, trained = 0;
    for (int64_t k = 0; k < a->n_param; k++) {
        const dpt_param_info *p = &r->graph->param[a->order[k]];
        const dpt_slot *param = &a->param[a->order[k]], *grad = &a->grad[a->order[k]];
        CHECK_EQ_TEXT(p->name, mlp_order[k]);
        CHECK_EQ_I64(param->offset, param_end);
        CHECK_EQ_I64(param->bytes, dpt_row_count(p->tensor) * 4);
        param_end += (int64_t)dpt_align((size_t)param->bytes);
        if (frozen_bias && strstr(p->name, "bias")) {
            CHECK_EQ_I64(grad->offset, -1);
            continue;
        }
        CHECK(grad->offset == grad_end && grad->bytes == param->bytes);
        const dpt_segment *s = &a->segment[trained++];
        CHECK(s->param_offset == param->offset && s->grad_offset == grad_end && s->moment_offset == grad_end);
        CHECK(s->count * 4 == param->bytes && s->decay == 0.1F && s->lr_factor == 1);
        grad_end += (int64_t)dpt_align((size_t)grad->bytes);
    }
    CHECK(a->n_segment == trained && a->param_bytes == param_end);
    CHECK(a->loss.offset == grad_end && a->loss.bytes == 4 && a->grad_bytes == grad_end + DPT_ALIGNMENT);
}

/* Buckets cut the gradient arena into slices in order, each but the last of bucket_bytes or more. */
static void check_buckets(const dpt_arena_plan *a, int64_t bucket_bytes) {
    int64_t end = 0, params = 0;
    for (int64_t k = 0; k < a->n_bucket; k++) {
        const dpt_bucket *b = &a->bucket[k];
        CHECK(b->offset >= end && b->offset - end < DPT_ALIGNMENT && b->offset % DPT_ALIGNMENT == 0);
        CHECK(b->tail == (k == a->n_bucket - 1) && (b->tail || b->bytes >= bucket_bytes));
        CHECK(b->first == params || b->count == 0);
        end = b->offset + b->bytes;
        params += b->count;
    }
    CHECK(params == a->n_segment && end == a->loss.offset + a->loss.bytes);
}

static void arenas(void) {
    for (int k = 0; k < 6; k++) {
        program_run r;
        const int64_t bytes[] = {256, 1000, 1 << 20};
        const program_choice choice = {
            .mode = DPT_MODE_TRAIN, .world = 4, .bucket_bytes = bytes[k / 2], .frozen_bias = k % 2};
        if (!program_open(&r, program_model_find("mlp"), &choice)) return;
        check_arenas(&r, choice.frozen_bias);
        check_buckets(&r.plan, choice.bucket_bytes);
        if (k / 2 == 2) CHECK_EQ_I64(r.plan.n_bucket, 1);
        program_close(&r);
    }
}

static void build_odd_parameters(dpt_graph *g) {
    const dpt_init ones = {DPT_INIT_ONES, 0, 0};
    dpt_param(g, "unused", DPT_F32, 1, ((int64_t[]){3}), ones);
    dpt_tensor *a = dpt_param(g, "a", DPT_F32, 1, ((int64_t[]){3}), ones);
    dpt_tensor *b = dpt_param(g, "b", DPT_F64, 1, ((int64_t[]){5}), ones);
    dpt_tensor *c = dpt_param(g, "c", DPT_F32, 1, ((int64_t[]){3}), ones), *both = dpt_mul(a, c);
    dpt_loss_add(g, dpt_sum(dpt_mul(b, b), DPT_ALL_AXES, 0), 1, NULL);
    dpt_loss_add(g, dpt_sum(both, DPT_ALL_AXES, 0), 1, NULL);
}

/* Ties: the later made first; unused last and without gradient; a bucket holds one element type. */
static void arena_ties(void) {
    static const char *const order[] = {"b", "c", "a", "unused"};
    static const program_model model = {"odd", build_odd_parameters};
    program_run r;
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 4, .bucket_bytes = 1 << 20};
    if (!program_open(&r, &model, &choice)) return;
    for (int k = 0; k < 4; k++) CHECK_EQ_TEXT(r.graph->param[r.plan.order[k]].name, order[k]);
    CHECK_EQ_I64(r.plan.grad[0].offset, -1);
    CHECK(r.plan.loss_dtype == DPT_F64 && r.plan.n_bucket == 3);
    CHECK(r.plan.bucket[0].dtype == DPT_F64 && r.plan.bucket[1].dtype == DPT_F32 && r.plan.bucket[1].count == 2);
    CHECK(r.plan.bucket[2].dtype == DPT_F64 && r.plan.bucket[2].tail);
    program_close(&r);
}

/* ---- state ---- */

/* In a step all reads of a state see the value before it, an assignment of one state to another too. */
static void states(void) {
    program_run r;
    const program_choice choice = {.mode = DPT_MODE_TRAIN, .world = 1};
    if (!program_open(&r, program_model_find("states"), &choice)) return;
    float *now = (float *)(r.arenas.state + r.plan.state[0].offset);
    float *last = (float *)(r.arenas.state + r.plan.state[1].offset);
    float *own = (float *)(r.arenas.state + r.plan.state[2].offset), before[8];
    *own = 3;
    for (int i = 0; i < 8; i++) now[i] = (float)(i + 1);
    for (int step = 0; step < 3; step++) {
        memcpy(before, now, sizeof before);
        dpt_session_block(r.session)->step = step;
        if (!program_run_once(&r)) break;
        CHECK(memcmp(last, before, sizeof before) == 0);
        CHECK(memcmp(now, before, sizeof before) != 0);
        CHECK(*own == (float)(step + 4));
    }
    program_close(&r);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "program_memory", {"lifetimes", lifetimes}, {"reuse", reuse}, {"arenas", arenas},
                      {"arena_ties", arena_ties}, {"states", states});
}
