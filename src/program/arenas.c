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
                                                   .parameter = p->n_trained++,
                                                   .adapts = !info->group.no_decay,
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

/* Not sharded, every rank updates all of every bucket, and moments mirror the gradients. */
static void update_everything(dpt_arena_plan *p) {
    for (int64_t k = 0; k < p->n_bucket; k++) {
        p->bucket[k].first_segment = p->bucket[k].first;
        p->bucket[k].segments = p->bucket[k].count;
    }
    p->moment_bytes = p->grad_bytes;
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
        update_everything(p);
    }
    dpt_free(first);
    return status;
}

/* ---- sharding ---- */

/* The loss gets a bucket of its own, which is summed whole. */
static void split_loss(dpt_arena_plan *p) {
    dpt_bucket *last = &p->bucket[p->n_bucket - 1];
    if (last->count == 0) return;
    last->tail = false;
    p->bucket[p->n_bucket++] = (dpt_bucket){.dtype = p->loss_dtype, .first = p->n_segment, .tail = true};
}

/* Moves a bucket's parameters, `trained` by place in the gradient arena, to `at` in both arenas; its bytes without
 * padding. */
static int64_t move_bucket(const dpt_bucket *b, const int64_t *trained, int64_t at, dpt_arena_plan *p) {
    int64_t bytes = 0;
    for (int64_t k = b->first; k < b->first + b->count; k++) {
        int64_t i = trained[k], offset = at + p->grad[i].offset - b->offset;
        p->grad[i].offset = p->param[i].offset = offset;
        p->segment[k].grad_offset = p->segment[k].param_offset = offset;
        bytes = offset + p->grad[i].bytes - at;
    }
    return bytes;
}

/* What the slice [begin, begin + b->slice_bytes) holds of a bucket's segments; they are appended to `own`, their
 * moments standing from moment on. */
static void keep_slice(const dpt_segment *all, dpt_bucket *b, int64_t begin, int64_t moment, dpt_segment *own,
                       int64_t *n_own) {
    b->first_segment = *n_own;
    for (int64_t k = b->first; k < b->first + b->count; k++) {
        dpt_segment s = all[k];
        int64_t size = (int64_t)dpt_dtype_size(s.dtype), from = s.grad_offset, to = from + s.count * size;
        if (from < begin) from = begin;
        if (to > begin + b->slice_bytes) to = begin + b->slice_bytes;
        if (from >= to) continue;
        s.param_offset = s.grad_offset = from;
        s.moment_offset = moment + from - begin;
        s.count = (to - from) / size;
        own[(*n_own)++] = s;
    }
    b->segments = *n_own - b->first_segment;
}

static void shard(int rank, int world, const int64_t *trained, dpt_segment *own, dpt_arena_plan *p) {
    int64_t end = 0, n_own = 0;
    split_loss(p);
    p->moment_bytes = 0;
    for (int64_t k = 0; k < p->n_bucket; k++) {
        dpt_bucket *b = &p->bucket[k];
        int64_t bytes = move_bucket(b, trained, end, p);
        b->offset = end;
        b->slice_bytes = (int64_t)dpt_align((size_t)((bytes + world - 1) / world));
        b->bytes = b->slice_bytes * world;
        keep_slice(p->segment, b, end + rank * b->slice_bytes, p->moment_bytes, own, &n_own);
        p->moment_bytes += b->slice_bytes;
        end += b->bytes;
    }
    p->param_bytes = p->grad_bytes = end;
    place(&p->grad_bytes, p->loss.bytes, &p->loss);
    p->bucket[p->n_bucket - 1].offset = p->loss.offset;
    p->bucket[p->n_bucket - 1].bytes = p->loss.bytes;
    for (int64_t k = 0; k < p->n_param; k++)
        if (p->grad[p->order[k]].offset < 0)
            place(&p->param_bytes, p->param[p->order[k]].bytes, &p->param[p->order[k]]);
    p->n_segment = n_own;
    p->sharded = true;
}

dpt_status dpt_arena_plan_shard(const dpt_graph *g, int rank, int world, dpt_arena_plan *p) {
    size_t n = (size_t)g->n_param + 1;
    int64_t *trained = dpt_alloc_zero(n, sizeof *trained), n_trained = 0;
    dpt_segment *own = dpt_alloc_zero(n, sizeof *own);
    if (trained == NULL || own == NULL) {
        dpt_free(trained);
        dpt_free(own);
        return DPT_ERR_MEMORY;
    }
    for (int64_t k = 0; k < p->n_param; k++)
        if (p->grad[p->order[k]].offset >= 0) trained[n_trained++] = p->order[k];
    shard(rank, world, trained, own, p);
    dpt_free(trained);
    dpt_free(p->segment);
    p->segment = own;
    return DPT_OK;
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
        dpt_digest_i64(&d, p->bucket[k].slice_bytes);
    }
    return d.value;
}
