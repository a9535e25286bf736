/* arenas.c: see arenas.h. */
#include "program/arenas.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "ops/op_list.h"

static int64_t bytes_of(const dpt_tensor *t) { return dpt_row_count(t) * (int64_t)dpt_dtype_size(t->dtype); }

/* Node that first uses each parameter; n_node where none does. */
static void first_uses(const dpt_graph *g, int64_t *first) {
    for (int64_t i = 0; i < g->n_param; i++) first[i] = g->n_node;
    for (int64_t i = g->n_node - 1; i >= 0; i--)
        for (int k = 0; k < g->node[i]->n_in; k++) {
            const dpt_node *n = g->node[i]->in[k]->node;
            if (n->op == DPT_OP_PARAM) first[n->slot] = i;
        }
}

/* Whether a stands before b: used parameters before unused ones, later first use first, later made first. */
static bool before(const dpt_graph *g, const int64_t *first, int64_t a, int64_t b) {
    bool unused_a = first[a] == g->n_node, unused_b = first[b] == g->n_node;
    if (unused_a != unused_b) return unused_b;
    if (first[a] != first[b]) return first[a] > first[b];
    return a > b;
}

static void sort_order(const dpt_graph *g, const int64_t *first, int64_t *order) {
    for (int64_t i = 0; i < g->n_param; i++) {
        int64_t k = i;
        for (; k > 0 && before(g, first, i, order[k - 1]); k--) order[k] = order[k - 1];
        order[k] = i;
    }
}

static void place(int64_t *end, int64_t bytes, dpt_slot *slot) {
    slot->offset = *end;
    slot->bytes = bytes;
    *end += (int64_t)dpt_align((size_t)bytes);
}

static void place_params(const dpt_graph *g, const int64_t *first, double weight_decay, dpt_arena_plan *p) {
    for (int64_t k = 0; k < p->n_param; k++) {
        int64_t i = p->order[k];
        const dpt_param_info *info = &g->param[i];
        int64_t bytes = bytes_of(info->tensor);
        place(&p->param_bytes, bytes, &p->param[i]);
        p->grad[i] = (dpt_slot){.offset = -1};
        if (info->group.frozen || first[i] == g->n_node) continue;
        place(&p->grad_bytes, bytes, &p->grad[i]);
        p->segment[p->n_segment++] = (dpt_segment){.param_offset = p->param[i].offset,
                                                   .grad_offset = p->grad[i].offset,
                                                   .moment_offset = p->grad[i].offset,
                                                   .count = dpt_row_count(info->tensor),
                                                   .dtype = info->tensor->dtype,
                                                   .lr_factor = (float)info->group.lr_factor,
                                                   .decay = info->group.no_decay ? 0 : (float)weight_decay};
    }
}

/* Position of the first parameter of the last bucket: one, and before it those that fit into last_bytes with it. */
static int64_t last_begin(int64_t last_bytes, const dpt_arena_plan *p) {
    int64_t k = p->n_segment, end = p->loss.offset + p->loss.bytes;
    while (k > 0 && p->segment[k - 1].dtype == p->loss_dtype &&
           (k == p->n_segment || end - p->segment[k - 1].grad_offset <= last_bytes))
        k--;
    return k;
}

/* Slices of at least bucket_bytes in arena order; a change of element type ends one, and so does the begin of the last;
 * the loss ends that. */
static void make_buckets(int64_t bucket_bytes, int64_t last_bytes, dpt_arena_plan *p) {
    dpt_bucket b = {0};
    int64_t last = last_bytes > 0 ? last_begin(last_bytes, p) : p->n_segment;
    for (int64_t k = 0; k < p->n_segment; k++) {
        const dpt_segment *s = &p->segment[k];
        if (b.count && (b.dtype != s->dtype || b.bytes >= bucket_bytes || k == last)) {
            p->bucket[p->n_bucket++] = b;
            b.count = 0;
        }
        if (b.count == 0) b = (dpt_bucket){.offset = s->grad_offset, .dtype = s->dtype, .first = k};
        b.count++;
        b.bytes = s->grad_offset + s->count * (int64_t)dpt_dtype_size(s->dtype) - b.offset;
    }
    if (b.count && b.dtype != p->loss_dtype) {
        p->bucket[p->n_bucket++] = b;
        b.count = 0;
    }
    if (b.count == 0) b = (dpt_bucket){.offset = p->loss.offset, .dtype = p->loss_dtype, .first = p->n_segment};
    b.tail = true;
    b.bytes = p->loss.offset + p->loss.bytes - b.offset;
    p->bucket[p->n_bucket++] = b;
}

static dpt_dtype loss_dtype(const dpt_graph *g) {
    for (int64_t i = 0; i < g->n_loss; i++)
        if (g->loss[i].value->dtype == DPT_F64) return DPT_F64;
    return DPT_F32;
}

dpt_status dpt_arena_plan_make(const dpt_graph *g, double weight_decay, int64_t bucket_bytes, int64_t last_bytes,
                               dpt_arena_plan *p) {
    *p = (dpt_arena_plan){.n_param = g->n_param, .n_state = g->n_state, .loss_dtype = loss_dtype(g)};
    size_t n = (size_t)g->n_param + 1;
    dpt_status status = DPT_OK;
    int64_t *first = dpt_alloc_zero(n, sizeof *first);
    p->order = dpt_alloc_zero(n, sizeof *p->order);
    p->param = dpt_alloc_zero(n, sizeof *p->param);
    p->grad = dpt_alloc_zero(n, sizeof *p->grad);
    p->state = dpt_alloc_zero((size_t)g->n_state + 1, sizeof *p->state);
    p->segment = dpt_alloc_zero(n, sizeof *p->segment);
    p->bucket = dpt_alloc_zero(n + 1, sizeof *p->bucket);
    if (!first || !p->order || !p->param || !p->grad || !p->state || !p->segment || !p->bucket) {
        status = DPT_ERR_MEMORY;
        dpt_arena_plan_free(p);
    } else {
        first_uses(g, first);
        sort_order(g, first, p->order);
        place_params(g, first, weight_decay, p);
        place(&p->grad_bytes, (int64_t)dpt_dtype_size(p->loss_dtype), &p->loss);
        for (int64_t i = 0; i < g->n_state; i++) place(&p->state_bytes, bytes_of(g->state[i].tensor), &p->state[i]);
        make_buckets(bucket_bytes, last_bytes, p);
    }
    dpt_free(first);
    return status;
}

void dpt_arena_plan_free(dpt_arena_plan *p) {
    dpt_free(p->order);
    dpt_free(p->param);
    dpt_free(p->grad);
    dpt_free(p->state);
    dpt_free(p->segment);
    dpt_free(p->bucket);
    *p = (dpt_arena_plan){0};
}

uint64_t dpt_arena_plan_digest(const dpt_arena_plan *p) {
    dpt_digest d = {0};
    for (int64_t k = 0; k < p->n_param; k++) {
        int64_t i = p->order[k];
        dpt_digest_i64(&d, i);
        dpt_digest_i64(&d, p->param[i].offset);
        dpt_digest_i64(&d, p->grad[i].offset);
    }
    for (int64_t k = 0; k < p->n_bucket; k++) {
        dpt_digest_i64(&d, p->bucket[k].offset);
        dpt_digest_i64(&d, p->bucket[k].bytes);
    }
    return d.value;
}
