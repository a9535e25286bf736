/* graph_run.c: see graph_run.h. */
#include "graph_run.h"

#include "base/memory.h"

static dpt_status open_session(graph_run *r, dpt_context *ctx, int64_t rows) {
    const size_t arena[] = {dpt_align((size_t)r->plan.param_bytes), dpt_align((size_t)r->plan.grad_bytes),
                            dpt_align((size_t)r->plan.state_bytes)};
    const size_t arenas = arena[0] + arena[1] + arena[2] + DPT_ALIGNMENT;
    const size_t activations = (size_t)(r->program->activation_bytes + r->program->workspace_bytes) + DPT_ALIGNMENT;
    r->device = &ctx->device;
    r->bytes = arenas + activations;
    DPT_TRY(r->device->ops->alloc(r->device, r->bytes, DPT_FOR_COMPUTE, &r->memory));
    char *memory = r->memory, *fill = dpt_alloc(activations);
    DPT_CHECK_ALLOC(fill);
    memset(fill, 0xff, activations);
    dpt_status status = r->device->ops->copy_in(r->device, memory + arenas, fill, activations, NULL);
    dpt_free(fill);
    DPT_TRY(status);
    const dpt_session_options options = {
        .program = r->program,
        .comm = &ctx->comm,
        .arenas = {.param = memory, .grad = memory + arena[0], .state = memory + arena[0] + arena[1]},
        .activations = memory + arenas};
    DPT_TRY(dpt_session_create(&options, &r->session));
    dpt_block *block = dpt_session_block(r->session);
    for (int i = 0; i < DPT_MAX_AXES; i++) block->rows[i] = block->global_rows[i] = rows;
    return DPT_OK;
}

dpt_status graph_run_open(graph_run *r, dpt_context *ctx, const dpt_graph *g, int64_t capacity, int64_t rows,
                          bool fused) {
    *r = (graph_run){0};
    DPT_TRY(dpt_arena_plan_make(g, 0, 1 << 20, 0, &r->plan));
    dpt_program_options options = {.mode = DPT_MODE_PREDICT,
                                   .rank = 0,
                                   .world = 1,
                                   .backend = ctx->backend,
                                   .device = &ctx->device,
                                   .arenas = &r->plan,
                                   .unfused = !fused};
    for (int i = 0; i < DPT_MAX_AXES; i++) options.capacity[i] = capacity;
    dpt_status status = dpt_program_create(g, &options, &r->program);
    if (status == DPT_OK) status = open_session(r, ctx, rows);
    if (status != DPT_OK) graph_run_close(r);
    return status;
}

void graph_run_close(graph_run *r) {
    dpt_session_destroy(&r->session);
    dpt_program_destroy(&r->program);
    dpt_arena_plan_free(&r->plan);
    if (r->memory) r->device->ops->release(r->device, r->memory, r->bytes, DPT_FOR_COMPUTE);
    *r = (graph_run){0};
}

dpt_status graph_run_set(graph_run *r, const char *input, dpt_dtype dtype, const void *data, int64_t rows) {
    const int at = dpt_session_find_input(r->session, input);
    DPT_CHECK(at >= 0, DPT_ERR_ARG, "no input \"%s\"", input);
    const dpt_array array = {.name = input, .data = data, .dtype = dtype, .place = DPT_HOST, .rows = rows};
    return dpt_session_set_input(r->session, at, &array);
}

dpt_status graph_run_forward(graph_run *r) { return dpt_session_run(r->session); }

int64_t graph_run_read(graph_run *r, const char *output, int64_t rows, double *values, int64_t capacity) {
    const dpt_operand *o = dpt_session_output(r->session, output);
    if (o == NULL) return -1;
    const int64_t count = o->axis < 0 ? o->count : rows * o->row_count;
    if (count > capacity || (o->dtype != DPT_F32 && o->dtype != DPT_F64)) return -1;
    if (dpt_session_read(r->session, output, o->axis < 0 ? 0 : rows, values) != DPT_OK) return -1;
    if (o->dtype == DPT_F32) {
        for (int64_t i = count - 1; i >= 0; i--) { /* from the back: a double overwrites only floats already read */
            float value;
            memcpy(&value, (const char *)values + i * (int64_t)sizeof value, sizeof value);
            values[i] = (double)value;
        }
    }
    return count;
}
