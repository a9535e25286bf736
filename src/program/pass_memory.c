/* pass_memory.c: where every tensor lies. Leaves and what ends in an arena are placed there; a gradient whose only use
 * is its store is written straight into the arena. The rest share the activation arena: each group of aliases (views,
 * in-place results) is an interval of the execution order, and intervals that overlap get disjoint bytes. The block and
 * after it the inputs stand at the front, side by side, so that one copy fills them; the other groups are placed
 * largest first, each at the lowest offset that is free. Invariant: a tensor's bytes are not written between the node
 * that makes it and the last one that reads it. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ops/op_list.h"
#include "program/program.h"
#include "program/rewrite.h"

typedef struct group {
    int64_t root, begin, end, bytes, offset;
} group;

typedef struct plan {
    dpt_program *p;
    const dpt_graph *g;
    int *uses;
    int64_t *root; /* by tensor number: the tensor whose bytes these are */
    int64_t *last; /* by root: last node that reads it */
    group *groups;
    int64_t n_group;
} plan;

static int64_t number(const dpt_tensor *t) { return t->node->id * DPT_MAX_OUT + t->index; }
static dpt_tensor *tensor_of(const dpt_graph *g, int64_t n) { return &g->node[n / DPT_MAX_OUT]->out[n % DPT_MAX_OUT]; }

static int64_t bytes_of(const dpt_program *p, const dpt_tensor *t) {
    if (t->token) return 0;
    int axis = dpt_tensor_axis(t);
    return dpt_row_count(t) * (axis < 0 ? 1 : p->options.capacity[axis]) * (int64_t)dpt_dtype_size(t->dtype);
}

static void fixed(plan *m, const dpt_tensor *t, dpt_region region, int64_t offset) {
    m->p->storage[number(t)] = (dpt_storage){region, offset, bytes_of(m->p, t)};
}

/* Tensors that have a place of their own. */
static void place_fixed(plan *m, const dpt_node *n) {
    const dpt_arena_plan *a = m->p->options.arenas;
    const dpt_tensor *t = &n->out[0];
    switch (n->op) {
        case DPT_OP_PARAM: fixed(m, t, DPT_IN_PARAMS, a->param[n->slot].offset); break;
        case DPT_OP_STATE: fixed(m, t, DPT_IN_STATE, a->state[n->slot].offset); break;
        case DPT_OP_ASSIGN: fixed(m, t, DPT_IN_STATE, a->state[n->attr.slot.index].offset); break;
        case DPT_OP_GRAD_STORE:
        case DPT_OP_GRAD_READ: fixed(m, t, DPT_IN_GRADS, n->attr.slot.offset); break;
        case DPT_OP_CONSTANT:
            fixed(m, t, DPT_IN_CONSTANTS, m->p->constant_bytes);
            m->p->constant_bytes += (int64_t)dpt_align((size_t)bytes_of(m->p, t));
            break;
        default: break;
    }
}

static bool placed(const plan *m, const dpt_tensor *t) { return m->p->storage[number(t)].region != DPT_IN_NOTHING; }

/* A gradient that only its store reads, through views at most, is made in the arena; the store then does nothing. */
static void elide_store(plan *m, const dpt_node *store) {
    if (store->op != DPT_OP_GRAD_STORE || store->attr.slot.accumulate) return;
    const dpt_tensor *t = store->in[0];
    while (m->uses[number(t)] == 1 && (dpt_op_of(t->node)->flags & DPT_IS_VIEW) &&
           !(dpt_op_of(t->node)->flags & DPT_IS_COLLECTIVE))
        t = t->node->in[0];
    if (m->uses[number(t)] != 1 || placed(m, t)) return;
    if (dpt_op_of(t->node)->flags & (DPT_IS_LEAF | DPT_IS_VIEW | DPT_IS_COLLECTIVE)) return;
    fixed(m, t, DPT_IN_GRADS, store->attr.slot.offset);
    m->p->elided[store->id] = true;
}

/* Views and in-place results share their input's bytes. */
static void find_root(plan *m, const dpt_node *n) {
    unsigned flags = dpt_op_of(n)->flags;
    for (int i = 0; i < n->n_out; i++) m->root[number(&n->out[i])] = number(&n->out[i]);
    if (n->n_in == 0 || n->n_out == 0 || n->out[0].token || placed(m, &n->out[0])) return;
    int64_t in = m->root[number(n->in[0])];
    if (flags & DPT_IS_VIEW) {
        m->root[number(&n->out[0])] = in;
        m->p->elided[n->id] = !(flags & DPT_IS_COLLECTIVE);
        return;
    }
    const dpt_tensor *source = tensor_of(m->g, in);
    bool dies = m->last[in] == n->id && source->node->op != DPT_OP_INPUT && !placed(m, source);
    if ((flags & DPT_IS_INPLACE) && dies && bytes_of(m->p, n->in[0]) == bytes_of(m->p, &n->out[0]) &&
        n->in[0]->dtype == n->out[0].dtype)
        m->root[number(&n->out[0])] = in;
}

/* Last reader of every tensor's bytes. Views read what they show as long as they are read themselves; in-place results
 * are found only afterwards and extend the interval of the group. */
static void find_last(plan *m) {
    const dpt_graph *g = m->g;
    for (int64_t i = 0; i < g->n_node; i++) {
        const dpt_node *n = g->node[i];
        for (int k = 0; k < n->n_out; k++) {
            bool view = k == 0 && n->n_in && (dpt_op_of(n)->flags & DPT_IS_VIEW) && !n->out[0].token;
            m->root[number(&n->out[k])] = view ? m->root[number(n->in[0])] : number(&n->out[k]);
            if (!view) m->last[number(&n->out[k])] = i;
        }
        for (int k = 0; k < n->n_in; k++) m->last[m->root[number(n->in[k])]] = i;
    }
    for (int64_t i = 0; i < g->n_output; i++) m->last[m->root[number(g->output[i].tensor)]] = g->n_node;
}

static int larger_first(const void *a, const void *b) {
    const group *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->root < y->root ? -1 : x->root > y->root;
}

static bool is_input(const plan *m, const group *one) { return tensor_of(m->g, one->root)->node->op == DPT_OP_INPUT; }

static void make_groups(plan *m) {
    const dpt_graph *g = m->g;
    int64_t *where = m->last; /* reused: lifetimes move into the groups */
    for (int64_t i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_out; k++) {
            const dpt_tensor *t = &g->node[i]->out[k];
            int64_t n = number(t), root = m->root[n], end = where[n];
            if (t->token || placed(m, tensor_of(g, root))) continue;
            if (root == n) {
                int64_t begin = g->node[i]->op == DPT_OP_INPUT ? 0 : i;
                m->groups[m->n_group] = (group){.root = n, .begin = begin, .end = end, .bytes = bytes_of(m->p, t)};
                where[n] = m->n_group++;
            } else if (end > m->groups[where[root]].end) {
                m->groups[where[root]].end = end;
            }
        }
}

/* Lowest offset behind the block where the group fits beside those placed before it that live at the same time. */
static int64_t lowest_offset(const group *groups, int64_t n, const group *one) {
    int64_t offset = (int64_t)dpt_align(sizeof(dpt_block));
    for (bool moved = true; moved;) {
        moved = false;
        for (int64_t i = 0; i < n; i++) {
            const group *o = &groups[i];
            if (o->end < one->begin || one->end < o->begin) continue;
            if (offset + one->bytes <= o->offset || o->offset + o->bytes <= offset) continue;
            offset = o->offset + o->bytes;
            moved = true;
        }
    }
    return offset;
}

static void place_group(plan *m, group *one, int64_t offset) {
    one->offset = offset;
    if (offset + one->bytes > m->p->activation_bytes) m->p->activation_bytes = offset + one->bytes;
    fixed(m, tensor_of(m->g, one->root), DPT_IN_ACTIVATIONS, offset);
}

/* Inputs, in their order, behind the block; they come first in the list of groups. */
static void place_inputs(plan *m) {
    m->p->input_bytes = (int64_t)dpt_align(sizeof(dpt_block));
    m->p->activation_bytes = m->p->input_bytes;
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_group; i++) {
        group one = m->groups[i];
        if (!is_input(m, &one)) continue;
        place_group(m, &one, m->p->input_bytes);
        m->p->input_bytes += one.bytes;
        m->groups[i] = m->groups[n];
        m->groups[n++] = one;
    }
    qsort(m->groups + n, (size_t)(m->n_group - n), sizeof *m->groups, larger_first);
}

static void place_groups(plan *m) {
    for (int64_t i = 0; i < m->n_group; i++) m->groups[i].bytes = (int64_t)dpt_align((size_t)m->groups[i].bytes);
    place_inputs(m);
    for (int64_t i = 0; i < m->n_group; i++)
        if (!is_input(m, &m->groups[i])) place_group(m, &m->groups[i], lowest_offset(m->groups, i, &m->groups[i]));
}

static void place_aliases(plan *m) {
    for (int64_t i = 0; i < m->g->n_node; i++)
        for (int k = 0; k < m->g->node[i]->n_out; k++) {
            const dpt_tensor *t = &m->g->node[i]->out[k];
            int64_t n = number(t);
            if (!t->token && m->root[n] != n) m->p->storage[n] = m->p->storage[m->root[n]];
            if (!t->token) m->p->storage[n].bytes = bytes_of(m->p, t);
        }
}

/* A state may be assigned in place of what still reads it: assignments stand after all reads. */
static dpt_status check_assignments(const plan *m) {
    for (int64_t i = 0; i < m->g->n_node; i++) {
        const dpt_node *n = m->g->node[i];
        if (n->op != DPT_OP_ASSIGN) continue;
        const dpt_node *state = m->g->state[n->attr.slot.index].tensor->node;
        for (int64_t j = i + 1; j < m->g->n_node; j++)
            for (int k = 0; k < m->g->node[j]->n_in; k++)
                DPT_CHECK(m->g->node[j]->in[k]->node != state, DPT_ERR_INTERNAL,
                          "state \"%s\" is read after its assignment", state->name);
    }
    return DPT_OK;
}

dpt_status dpt_pass_memory(dpt_program *p) {
    const dpt_graph *g = p->graph;
    size_t n = (size_t)g->n_node * DPT_MAX_OUT + 1;
    plan m = {.p = p, .g = g};
    dpt_status status = DPT_ERR_MEMORY;
    p->storage = dpt_alloc_zero(n, sizeof *p->storage);
    p->elided = dpt_alloc_zero((size_t)g->n_node + 1, sizeof *p->elided);
    m.uses = dpt_count_uses(g);
    m.root = dpt_alloc_zero(n, sizeof *m.root);
    m.last = dpt_alloc_zero(n, sizeof *m.last);
    m.groups = dpt_alloc_zero(n, sizeof *m.groups);
    if (p->storage && p->elided && m.uses && m.root && m.last && m.groups) {
        for (int64_t i = 0; i < g->n_node; i++) place_fixed(&m, g->node[i]);
        for (int64_t i = 0; i < g->n_node; i++) elide_store(&m, g->node[i]);
        find_last(&m);
        for (int64_t i = 0; i < g->n_node; i++) find_root(&m, g->node[i]);
        make_groups(&m);
        place_groups(&m);
        place_aliases(&m);
        status = check_assignments(&m);
    }
    dpt_free(m.uses);
    dpt_free(m.root);
    dpt_free(m.last);
    dpt_free(m.groups);
    return status;
}
