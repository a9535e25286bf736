/* widen.c: 16-bit operands on the CPU, for every operation at once. A call that has any runs the f32 kernel on copies:
 * inputs are widened into the workspace, 16-bit outputs are computed there in f32 and rounded to nearest even. Between
 * the two everything is f32, so a value is rounded once an operation, as by a GPU kernel that computes in f32.
 *
 * The copies stand behind the inner kernel's workspace. They are the call's own whatever the memory pass aliased, so an
 * operation in place reads all of its input before any of its output is written. Only valid rows are converted. */
#include "ops/widen.h"

#include <string.h>

#include "backend/parallel.h"
#include "base/memory.h"
#include "base/numbers.h"
#include "ops/declare.h"
#include "ops/map.h"

static const dpt_kernel *const plain[DPT_OP_COUNT] = {
#define KERNEL(ID, name) [DPT_OP_##ID] = &dpt_cpu_##name,
#define NOTHING(ID, name)
    DPT_OP_LIST(KERNEL, NOTHING)};

/* ---- conversions ---- */

typedef struct conversion {
    const void *from;
    void *to;
} conversion;

#define CONVERT(name, from_type, to_type, function)                                          \
    DPT_HOT_LOOP static void name(void *context, int64_t begin, int64_t end) {               \
        const conversion *c = context;                                                       \
        const from_type *restrict from = c->from;                                            \
        to_type *restrict to = c->to;                                                        \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) to[i] = function(from[i]); \
    }
CONVERT(widen_bf16, uint16_t, float, dpt_f32_of_bf16)
CONVERT(widen_f16, uint16_t, float, dpt_f32_of_f16)
CONVERT(round_bf16, float, uint16_t, dpt_bf16_of_f32)
CONVERT(round_f16, float, uint16_t, dpt_f16_of_f32)

static void convert(const dpt_call *call, const dpt_operand *o, dpt_range_fn fn, const void *from, void *to) {
    conversion c = {from, to};
    dpt_parallel(call->device->threads, dpt_valid_count(call, o), DPT_MAP_GRAIN, fn, &c);
}

/* ---- the call inside ---- */

typedef struct widened {
    dpt_call inner;                          /* 16-bit operands as f32 */
    size_t in[DPT_MAX_IN], out[DPT_MAX_OUT]; /* where their copies stand in the workspace; 0: no copy */
} widened;

static bool is_half(const dpt_operand *o) { return o->dtype == DPT_BF16 || o->dtype == DPT_F16; }

/* Calls that move bytes need no arithmetic. */
static bool moves(int op) {
    switch (op) {
        case DPT_OP_COPY:
        case DPT_OP_REORDER:
        case DPT_OP_GATHER:
        case DPT_OP_TRANSPOSE:
        case DPT_OP_CONCAT:
        case DPT_OP_SLICE:
        case DPT_OP_PAD: return true;
        default: return false;
    }
}

static bool widens(const dpt_call *call) {
    bool any = false;
    for (int i = 0; i < call->n_in; i++) any |= is_half(&call->in[i]);
    for (int i = 0; i < call->n_out; i++) any |= is_half(&call->out[i]);
    return any && !moves(call->op);
}

/* Gives an operand's copy its place in the workspace. */
static void place_copy(const dpt_operand *o, size_t *offset, size_t *bytes) {
    if (!is_half(o)) return;
    *offset = *bytes;
    *bytes += dpt_align((size_t)o->count * sizeof(float));
}

/* The call as the f32 kernel sees it. */
static void fill_inner(const dpt_call *call, dpt_call *inner) {
    *inner = *call;
    for (int i = 0; i < call->n_in; i++)
        if (is_half(&call->in[i])) inner->in[i].dtype = DPT_F32;
    for (int i = 0; i < call->n_out; i++)
        if (is_half(&call->out[i])) inner->out[i].dtype = DPT_F32;
}

static dpt_status widen_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_call inner;
    const dpt_kernel *kernel = plain[call->op];
    if (kernel->layouts == NULL) return DPT_OK;
    fill_inner(call, &inner);
    return kernel->layouts(&inner, choice);
}

static dpt_status widen_prepare(dpt_call *call) {
    const dpt_kernel *kernel = plain[call->op];
    if (!widens(call)) return kernel->prepare ? kernel->prepare(call) : DPT_OK;
    widened *w = dpt_alloc_zero(1, sizeof *w);
    DPT_CHECK_ALLOC(w);
    fill_inner(call, &w->inner);
    dpt_status status = kernel->prepare ? kernel->prepare(&w->inner) : DPT_OK;
    if (status != DPT_OK) {
        dpt_free(w);
        return status;
    }
    size_t bytes = dpt_align(w->inner.workspace_bytes + 1); /* no copy stands at 0 */
    for (int i = 0; i < call->n_in; i++) place_copy(&call->in[i], &w->in[i], &bytes);
    for (int i = 0; i < call->n_out; i++) place_copy(&call->out[i], &w->out[i], &bytes);
    call->plan = w;
    call->workspace_bytes = bytes;
    call->table_bytes = w->inner.table_bytes;
    return DPT_OK;
}

static dpt_status widen_bind(dpt_call *call) {
    const dpt_kernel *kernel = plain[call->op];
    if (!widens(call)) return kernel->bind ? kernel->bind(call) : DPT_OK;
    widened *w = call->plan;
    char *workspace = call->workspace;
    for (int i = 0; i < call->n_in; i++) w->inner.in[i].data = w->in[i] ? workspace + w->in[i] : call->in[i].data;
    for (int i = 0; i < call->n_out; i++) w->inner.out[i].data = w->out[i] ? workspace + w->out[i] : call->out[i].data;
    w->inner.block = call->block;
    w->inner.arenas = call->arenas;
    w->inner.workspace = workspace;
    w->inner.table = call->table;
    return kernel->bind ? kernel->bind(&w->inner) : DPT_OK;
}

static dpt_status widen_run(dpt_call *call, dpt_stream *stream) {
    const dpt_kernel *kernel = plain[call->op];
    if (!widens(call)) return kernel->run(call, stream);
    widened *w = call->plan;
    for (int i = 0; i < call->n_in; i++) {
        const dpt_operand *o = &call->in[i];
        if (w->in[i]) convert(call, o, o->dtype == DPT_BF16 ? widen_bf16 : widen_f16, o->data, w->inner.in[i].data);
    }
    DPT_TRY(kernel->run(&w->inner, stream));
    for (int i = 0; i < call->n_out; i++) {
        const dpt_operand *o = &call->out[i];
        if (w->out[i]) convert(call, o, o->dtype == DPT_BF16 ? round_bf16 : round_f16, w->inner.out[i].data, o->data);
    }
    return DPT_OK;
}

static void widen_release(dpt_call *call) {
    const dpt_kernel *kernel = plain[call->op];
    if (!widens(call)) {
        if (kernel->release) kernel->release(call);
        return;
    }
    widened *w = call->plan;
    if (w == NULL) return;
    if (kernel->release) kernel->release(&w->inner);
    dpt_free(w);
    call->plan = NULL;
}

const dpt_kernel dpt_cpu_widening = {
    .prepare = widen_prepare, .bind = widen_bind, .run = widen_run, .release = widen_release, .layouts = widen_layouts};
