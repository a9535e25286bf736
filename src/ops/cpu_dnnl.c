/* cpu_dnnl.c: see cpu_dnnl.h. */
#include "ops/cpu_dnnl.h"

#include <omp.h>
#include <pthread.h>
#include <string.h>

dpt_status dpt_dnnl_status(dnnl_status_t status, const char *call) {
    switch (status) {
        case dnnl_success: return DPT_OK;
        case dnnl_out_of_memory: return dpt_error(DPT_ERR_MEMORY, "oneDNN: %s: out of memory", call);
        case dnnl_unimplemented: return dpt_error(DPT_ERR_UNSUPPORTED, "oneDNN: %s: not implemented", call);
        default: return dpt_error(DPT_ERR_INTERNAL, "oneDNN: %s failed with status %d", call, (int)status);
    }
}

/* ---- the process's engine and stream ---- */

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static dnnl_status_t engine_status;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void engine_create(void) {
    engine_status = dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (engine_status == dnnl_success) engine_status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
}

static dpt_status engine_ready(void) {
    pthread_once(&engine_once, engine_create);
    return dpt_dnnl_status(engine_status, "dnnl_engine_create");
}

/* oneDNN takes its threads from OpenMP's setting of the calling thread. Returns the setting to be put back. */
static int use_threads(int threads) {
    int before = omp_get_max_threads();
    if (before != threads) omp_set_num_threads(threads);
    return before;
}

/* ---- primitives ---- */

static dpt_status append_leaky(dnnl_primitive_attr_t attr, double slope) {
    dnnl_post_ops_t after;
    dpt_status status;
    DPT_TRY(DPT_DNNL(dnnl_post_ops_create(&after)));
    DPT_TRY_GOTO(DPT_DNNL(dnnl_post_ops_append_eltwise(after, 1, dnnl_eltwise_relu, (float)slope, 0)), done);
    DPT_TRY_GOTO(DPT_DNNL(dnnl_primitive_attr_set_post_ops(attr, after)), done);
done:
    dnnl_post_ops_destroy(after);
    return status;
}

static dpt_status describe(dnnl_primitive_desc_t *desc, const_dnnl_op_desc_t operation,
                           const_dnnl_primitive_desc_t hint, double slope) {
    dnnl_primitive_attr_t attr = NULL;
    dpt_status status;
    DPT_TRY(engine_ready());
    DPT_TRY(DPT_DNNL(dnnl_primitive_attr_create(&attr)));
    DPT_TRY_GOTO(DPT_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user)), done);
    if (slope > 0) DPT_TRY_GOTO(append_leaky(attr, slope), done);
    DPT_TRY_GOTO(DPT_DNNL(dnnl_primitive_desc_create(desc, operation, attr, engine, hint)), done);
done:
    dnnl_primitive_attr_destroy(attr);
    return status;
}

dpt_status dpt_dnnl_describe(dnnl_primitive_desc_t *desc, int threads, const_dnnl_op_desc_t operation,
                             const_dnnl_primitive_desc_t hint, double slope) {
    int before = use_threads(threads);
    dpt_status status = describe(desc, operation, hint, slope);
    use_threads(before);
    return status;
}

/* The primitive of p->desc, and its scratchpad as the first operand. */
static dpt_status create(dpt_dnnl *p, int threads) {
    int before = use_threads(threads);
    dpt_status status = DPT_DNNL(dnnl_primitive_create(&p->primitive, p->desc));
    use_threads(before);
    DPT_TRY(status);
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(p->desc, dnnl_query_scratchpad_md, 0);
    if (md != NULL && dnnl_memory_desc_get_size(md) > 0) DPT_TRY(dpt_dnnl_operand(p, DNNL_ARG_SCRATCHPAD, md));
    return DPT_OK;
}

dpt_status dpt_dnnl_open(dpt_dnnl *p, int threads, const_dnnl_op_desc_t operation, const_dnnl_primitive_desc_t hint,
                         double slope) {
    dpt_status status;
    *p = (dpt_dnnl){0};
    DPT_TRY_GOTO(dpt_dnnl_describe(&p->desc, threads, operation, hint, slope), fail);
    DPT_TRY_GOTO(create(p, threads), fail);
    return DPT_OK;
fail:
    dpt_dnnl_close(p);
    return status;
}

dpt_status dpt_dnnl_open_reorder(dpt_dnnl *p, int threads, const dnnl_memory_desc_t *from,
                                 const dnnl_memory_desc_t *to) {
    dpt_status status;
    dnnl_primitive_attr_t attr = NULL;
    *p = (dpt_dnnl){0};
    DPT_TRY_GOTO(engine_ready(), fail);
    DPT_TRY_GOTO(DPT_DNNL(dnnl_primitive_attr_create(&attr)), fail);
    DPT_TRY_GOTO(DPT_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user)), fail);
    int before = use_threads(threads);
    status = DPT_DNNL(dnnl_reorder_primitive_desc_create(&p->desc, from, engine, to, engine, attr));
    use_threads(before);
    if (status != DPT_OK) goto fail;
    DPT_TRY_GOTO(create(p, threads), fail);
    DPT_TRY_GOTO(dpt_dnnl_operand(p, DNNL_ARG_FROM, from), fail);
    DPT_TRY_GOTO(dpt_dnnl_operand(p, DNNL_ARG_TO, to), fail);
    dnnl_primitive_attr_destroy(attr);
    return DPT_OK;
fail:
    if (attr != NULL) dnnl_primitive_attr_destroy(attr);
    dpt_dnnl_close(p);
    return status;
}

dpt_status dpt_dnnl_operand(dpt_dnnl *p, int argument, const dnnl_memory_desc_t *md) {
    DPT_CHECK(p->n < DPT_DNNL_OPERANDS, DPT_ERR_INTERNAL, "oneDNN: a primitive has more than %d operands",
              DPT_DNNL_OPERANDS);
    dnnl_memory_t memory = NULL;
    DPT_TRY(DPT_DNNL(dnnl_memory_create(&memory, md, engine, DNNL_MEMORY_NONE)));
    p->operand[p->n++] = (dnnl_exec_arg_t){argument, memory};
    return DPT_OK;
}

size_t dpt_dnnl_scratch_bytes(const dpt_dnnl *p) {
    const dnnl_memory_desc_t *md = NULL;
    if (p->n == 0 || p->operand[0].arg != DNNL_ARG_SCRATCHPAD) return 0;
    return dnnl_memory_get_memory_desc(p->operand[0].memory, &md) == dnnl_success ? dnnl_memory_desc_get_size(md) : 0;
}

dpt_status dpt_dnnl_bind(dpt_dnnl *p, int argument, void *data) {
    for (int i = 0; i < p->n; i++)
        if (p->operand[i].arg == argument) return DPT_DNNL(dnnl_memory_set_data_handle(p->operand[i].memory, data));
    return DPT_OK;
}

dpt_status dpt_dnnl_run(const dpt_dnnl *p, int threads) {
    int before = use_threads(threads);
    dpt_status status = DPT_DNNL(dnnl_primitive_execute(p->primitive, stream, p->n, p->operand));
    if (before != threads) use_threads(before);
    return status;
}

void dpt_dnnl_close(dpt_dnnl *p) {
    for (int i = 0; i < p->n; i++) dnnl_memory_destroy(p->operand[i].memory);
    if (p->primitive != NULL) dnnl_primitive_destroy(p->primitive);
    if (p->desc != NULL) dnnl_primitive_desc_destroy(p->desc);
    *p = (dpt_dnnl){0};
}

dpt_status dpt_dnnl_plain(dnnl_memory_desc_t *md, int ndim, const int64_t *dim) {
    dnnl_dims_t dims = {0}, strides = {0};
    int64_t stride = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        dims[i] = dim[i];
        strides[i] = stride;
        stride *= dim[i];
    }
    return DPT_DNNL(dnnl_memory_desc_init_by_strides(md, ndim, dims, dnnl_f32, strides));
}

void dpt_cpu_zero_padding(const dpt_call *call, const dpt_operand *o) {
    int64_t valid = dpt_valid_count(call, o);
    size_t size = dpt_dtype_size(o->dtype);
    if (valid < o->count) memset((char *)o->data + (size_t)valid * size, 0, (size_t)(o->count - valid) * size);
}
