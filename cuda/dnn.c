/* dnn.c: see dnn.h. A plan is a graph of cuDNN's backend interface (a convolution, then bias and ReLU) and the engine
 * that was chosen for it.
 *
 * Of the engines that its heuristics propose each is timed once; under `deterministic` the first is taken. An engine
 * for a graph with ReLU must also turn NaN into NaN here, since cuDNN does not promise that. What is opened of cuDNN
 * stays open until the process ends: its descriptors refer to each other. */
#include "cuda/dnn.h"

#include <dlfcn.h>
#include <float.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#if defined(__has_include) && !defined(DPTRAIN_WITHOUT_CUDNN)
#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#define HAS_CUDNN 1
#endif
#endif

#ifndef HAS_CUDNN

bool dpt_dnn_available(void) { return false; }

dpt_status dpt_dnn_conv_prepare(const dpt_call *call, const dpt_dnn_conv *conv, const dpt_dnn_plan **plan,
                                size_t *workspace_bytes) {
    (void)call, (void)conv;
    *plan = NULL;
    *workspace_bytes = 0;
    return DPT_OK;
}

dpt_status dpt_dnn_conv_run(const dpt_dnn_plan *plan, void *x, void *w, void *y, const void *bias, void *workspace,
                            dpt_stream *stream) {
    (void)plan, (void)x, (void)w, (void)y, (void)bias, (void)workspace, (void)stream;
    return dpt_error(DPT_ERR_INTERNAL, "this build knows no cuDNN");
}

#else

enum { CANDIDATES = 6, PROPOSALS = 32, MOST_DEVICES = 64, MOST_NOTES = 32, NAN_CHECK_BYTES = 4096 };
enum { UID_X = 1, UID_W, UID_Y, UID_BIAS, UID_CONV, UID_SUM, DIMS = 2 + DPT_MAX_SPATIAL };
static const size_t WORKSPACE_LIMIT = (size_t)1 << 29;

typedef cudnnBackendDescriptor_t descriptor;

struct dpt_dnn_plan {
    dpt_dnn_plan *next;
    int device;
    bool tf32, deterministic;
    dpt_dnn_conv conv;
    bool supported; /* else there is no engine for it, and nothing below holds */
    cudnnHandle_t handle;
    descriptor plan;
    size_t workspace_bytes;
};

/* ---- the library ---- */

#define FUNCTIONS(X)                 \
    X(cudnnCreate)                   \
    X(cudnnSetStream)                \
    X(cudnnGetErrorString)           \
    X(cudnnBackendCreateDescriptor)  \
    X(cudnnBackendDestroyDescriptor) \
    X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendFinalize) X(cudnnBackendExecute)

static struct {
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} cudnn;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below: a handle serves one thread at a time */
static bool opened, available;
static cudnnHandle_t handles[MOST_DEVICES];
static dpt_dnn_plan *plans;

static bool open_library(void) {
    void *object = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        dpt_log(DPT_LOG_DEBUG, "no cuDNN, convolutions go through cuBLASLt: %s", dlerror());
        return false;
    }
    bool whole = true;
    void *symbol;
#define LOAD(name)                                                     \
    symbol = dlsym(object, #name);                                     \
    memcpy((void *)&cudnn.name, (const void *)&symbol, sizeof symbol); \
    whole = whole && symbol != NULL;
    FUNCTIONS(LOAD)
#undef LOAD
    if (!whole)
        dpt_log(DPT_LOG_WARNING, "libcudnn.so.9 lacks functions that are used: convolutions go through cuBLASLt");
    return whole;
}

bool dpt_dnn_available(void) {
    const char *wanted = getenv("DPTRAIN_CUDNN");
    if (wanted && strcmp(wanted, "0") == 0) return false;
    pthread_mutex_lock(&lock);
    if (!opened) available = open_library();
    opened = true;
    bool answer = available;
    pthread_mutex_unlock(&lock);
    return answer;
}

static dpt_status dnn_status(cudnnStatus_t code, const char *call) {
    if (code == CUDNN_STATUS_SUCCESS) return DPT_OK;
    return dpt_error(DPT_ERR_DEVICE, "%.*s: %s", (int)strcspn(call, "("), call, cudnn.cudnnGetErrorString(code));
}
#define DNN(call) dnn_status(cudnn.call, #call)

static dpt_status handle_of(int device, cudnnHandle_t *handle) {
    DPT_CHECK(device >= 0 && device < MOST_DEVICES, DPT_ERR_DEVICE, "device number %d: at most %d are supported",
              device, MOST_DEVICES);
    if (handles[device] == NULL) DPT_TRY(DNN(cudnnCreate(&handles[device])));
    *handle = handles[device];
    return DPT_OK;
}

/* ---- descriptors: those of a graph are kept in a list, and only given back where no plan came of it ---- */

typedef struct graph {
    const dpt_dnn_conv *conv;
    cudnnHandle_t handle;
    descriptor made[64];
    int count;
    descriptor operations;
} graph;

static cudnnStatus_t make(graph *g, cudnnBackendDescriptorType_t type, descriptor *d) {
    if (g->count == (int)(sizeof g->made / sizeof g->made[0])) return CUDNN_STATUS_INTERNAL_ERROR;
    cudnnStatus_t code = cudnn.cudnnBackendCreateDescriptor(type, d);
    if (code == CUDNN_STATUS_SUCCESS) g->made[g->count++] = *d;
    return code;
}

/* Gives back what was made after the first `keep`. */
static void forget(graph *g, int keep) {
    while (g->count > keep) (void)cudnn.cudnnBackendDestroyDescriptor(g->made[--g->count]);
}

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    const void *value;
} attribute;

/* Makes a descriptor with these attributes. */
static dpt_status describe(graph *g, cudnnBackendDescriptorType_t type, const attribute *list, int count,
                           descriptor *d) {
    DPT_TRY(dnn_status(make(g, type, d), "cudnnBackendCreateDescriptor"));
    for (int i = 0; i < count; i++)
        DPT_TRY(DNN(cudnnBackendSetAttribute(*d, list[i].name, list[i].type, list[i].count, list[i].value)));
    return DNN(cudnnBackendFinalize(*d));
}
#define DESCRIBE(g, type, d, ...)                           \
    describe((g), (type), (const attribute[]){__VA_ARGS__}, \
             (int)(sizeof((const attribute[]){__VA_ARGS__}) / sizeof(attribute)), (d))

static cudnnDataType_t type_of(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F64: return CUDNN_DATA_DOUBLE;
        case DPT_BF16: return CUDNN_DATA_BFLOAT16;
        case DPT_F16: return CUDNN_DATA_HALF;
        default: return CUDNN_DATA_FLOAT;
    }
}

/* cuDNN has no convolution along one dimension: that is one over a plane of height 1. */
static int spatial_of(const dpt_dnn_conv *c) { return c->spatial < 2 ? 2 : c->spatial; }

/* A tensor [n, c, size...]; size has the three dimensions of dpt_conv_sizes. */
static dpt_status tensor(graph *g, int64_t uid, cudnnDataType_t type, bool is_virtual, int64_t n, int64_t c,
                         const int64_t size[3], descriptor *d) {
    int spatial = spatial_of(g->conv), ndim = 2 + spatial;
    int64_t dim[DIMS] = {n, c}, stride[DIMS], next = 1, alignment = 16;
    for (int i = 0; i < spatial; i++) dim[2 + i] = size[3 - spatial + i];
    if (g->conv->channels_last) {
        stride[1] = 1;
        next = c;
    }
    for (int i = ndim - 1; i >= 2; i--) {
        stride[i] = next;
        next *= dim[i];
    }
    if (!g->conv->channels_last) {
        stride[1] = next;
        next *= c;
    }
    stride[0] = next;
    return DESCRIBE(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, d, {CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid},
                    {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type},
                    {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, ndim, dim},
                    {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, ndim, stride},
                    {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment},
                    {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual});
}

static const int64_t one_each[3] = {1, 1, 1};

/* The convolution over tensors x, w, y, whichever of them is the result. */
static dpt_status convolution(graph *g, descriptor x, descriptor w, descriptor y, descriptor *operation) {
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
    } of[] = {
        [DPT_CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        [DPT_CONV_DGRAD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        [DPT_CONV_WGRAD] = {
            CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
    const dpt_dnn_conv *c = g->conv;
    const dpt_conv_sizes *s = &c->sizes;
    const int64_t spatial = spatial_of(c), skip = 3 - spatial;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const float one = 1, zero = 0;
    descriptor steps;
    DPT_TRY(DESCRIBE(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, &steps,
                     {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute},
                     {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode},
                     {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial},
                     {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, spatial, s->pad + skip},
                     {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, spatial, s->pad + skip},
                     {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, spatial, s->dilation + skip},
                     {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, spatial, s->stride + skip}));
    return DESCRIBE(g, of[c->kind].type, operation, {of[c->kind].conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &steps},
                    {of[c->kind].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x},
                    {of[c->kind].w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w},
                    {of[c->kind].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y},
                    {of[c->kind].alpha, CUDNN_TYPE_FLOAT, 1, &one}, {of[c->kind].beta, CUDNN_TYPE_FLOAT, 1, &zero});
}

/* y = mode(x, b); b is NULL for ReLU. */
static dpt_status pointwise(graph *g, cudnnPointwiseMode_t mode, descriptor x, descriptor b, descriptor y,
                            descriptor *operation) {
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const double slope = g->conv->slope;
    const bool leaky = mode == CUDNN_POINTWISE_RELU_FWD && slope != 0;
    descriptor what;
    const attribute ways[] = {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode},
                              {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute},
                              {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, &slope}};
    DPT_TRY(describe(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, ways, leaky ? 3 : 2, &what));
    const attribute list[] = {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &what},
                              {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x},
                              {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y},
                              {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &b}};
    return describe(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, list, b ? 4 : 3, operation);
}

/* The graph: x, w, y -> convolution [-> + bias] [-> ReLU]; what lies between is f32 and never in memory. */
static dpt_status open_graph(graph *g) {
    const dpt_dnn_conv *c = g->conv;
    const dpt_conv_sizes *s = &c->sizes;
    const cudnnDataType_t in = type_of(c->in), out = type_of(c->out), between = CUDNN_DATA_FLOAT;
    descriptor x, w, y, bias, conv, sum, operations[3];
    int64_t count = 1;
    DPT_TRY(tensor(g, UID_X, c->kind == DPT_CONV_DGRAD ? out : in, false, s->batch, s->in_channels, s->in, &x));
    DPT_TRY(tensor(g, UID_W, c->kind == DPT_CONV_WGRAD ? out : in, false, s->out_channels, s->in_channels / s->groups,
                   s->kernel, &w));
    DPT_TRY(tensor(g, UID_Y, c->kind == DPT_CONV_FORWARD ? out : in, false, s->batch, s->out_channels, s->out, &y));
    conv = y;
    if (c->bias || c->relu) DPT_TRY(tensor(g, UID_CONV, between, true, s->batch, s->out_channels, s->out, &conv));
    DPT_TRY(convolution(g, x, w, conv, &operations[0]));
    sum = conv;
    if (c->bias) {
        DPT_TRY(tensor(g, UID_BIAS, in, false, 1, s->out_channels, one_each, &bias));
        sum = y;
        if (c->relu) DPT_TRY(tensor(g, UID_SUM, between, true, s->batch, s->out_channels, s->out, &sum));
        DPT_TRY(pointwise(g, CUDNN_POINTWISE_ADD, conv, bias, sum, &operations[count++]));
    }
    if (c->relu) DPT_TRY(pointwise(g, CUDNN_POINTWISE_RELU_FWD, sum, NULL, y, &operations[count++]));
    return DESCRIBE(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &g->operations,
                    {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle},
                    {CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count, operations});
}

/* ---- candidates ---- */

typedef struct candidate {
    descriptor plan;
    size_t workspace_bytes;
} candidate;

/* Whether the engine's numbers are ours: bits that repeat, sums in f32, products in f32 unless TF32 is allowed, and no
 * more rounding than a sum has (of Winograd's transforms only the smallest). */
static bool is_exact(graph *g, const dpt_call *call, descriptor config) {
    cudnnBackendNumericalNote_t notes[MOST_NOTES];
    descriptor engine;
    int64_t count = 0;
    bool exact = true;
    if (make(g, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                       &engine) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, MOST_NOTES,
                                       &count, notes) != CUDNN_STATUS_SUCCESS)
        return false;
    bool f32 = g->conv->in == DPT_F32 && !call->tf32;
    for (int64_t i = 0; i < count && i < MOST_NOTES; i++) switch (notes[i]) {
            case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
            case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: exact = false; break;
            case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
            case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS: exact = exact && !f32; break;
            default: break;
        }
    return exact;
}

/* A plan of the engine; refused where cuDNN cannot run it here, or wants too much memory. */
static bool open_plan(graph *g, descriptor config, candidate *c) {
    int64_t count = 0, bytes = 0;
    if (make(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &c->plan) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendSetAttribute(c->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle) !=
            CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendSetAttribute(c->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       1, &config) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendFinalize(c->plan) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendGetAttribute(c->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                       &bytes) != CUDNN_STATUS_SUCCESS)
        return false;
    c->workspace_bytes = (size_t)bytes;
    return bytes >= 0 && c->workspace_bytes <= WORKSPACE_LIMIT;
}

/* Appends what the heuristics of one mode propose, best first; they may have nothing. */
static void propose(graph *g, const dpt_call *call, cudnnBackendHeurMode_t mode, candidate *list, int *found) {
    descriptor heuristics, configs[PROPOSALS];
    int64_t count = 0;
    int before = g->count;
    if (make(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                       1, &g->operations) != CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) !=
            CUDNN_STATUS_SUCCESS ||
        cudnn.cudnnBackendFinalize(heuristics) != CUDNN_STATUS_SUCCESS) {
        forget(g, before);
        return;
    }
    for (int i = 0; i < PROPOSALS; i++)
        if (cudnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]) != CUDNN_STATUS_SUCCESS)
            configs[i] = NULL;
    cudnnStatus_t code = cudnn.cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                        CUDNN_TYPE_BACKEND_DESCRIPTOR, PROPOSALS, &count, configs);
    if (code != CUDNN_STATUS_SUCCESS) count = 0;
    for (int i = 0; i < PROPOSALS; i++) {
        int without = g->count;
        candidate *next = &list[*found];
        if (i < count && *found < CANDIDATES && is_exact(g, call, configs[i]) && open_plan(g, configs[i], next)) {
            g->made[g->count++] = configs[i];
            (*found)++;
            continue;
        }
        forget(g, without);
        if (configs[i]) (void)cudnn.cudnnBackendDestroyDescriptor(configs[i]);
    }
}

/* ---- running ---- */

/* The pointers are x, w, y and bias, or NULL. */
static cudnnStatus_t execute(cudnnHandle_t handle, const candidate *c, void *const data[4], void *workspace,
                             dpt_stream *stream) {
    const int64_t uids[4] = {UID_X, UID_W, UID_Y, UID_BIAS}, count = data[3] ? 4 : 3;
    descriptor pack;
    cudnnStatus_t code = cudnn.cudnnSetStream(handle, stream->cuda);
    if (code == CUDNN_STATUS_SUCCESS)
        code = cudnn.cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (code != CUDNN_STATUS_SUCCESS) return code;
    const attribute list[] = {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids},
                              {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, data},
                              {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace}};
    for (int i = 0; i < 3 && code == CUDNN_STATUS_SUCCESS; i++)
        code = cudnn.cudnnBackendSetAttribute(pack, list[i].name, list[i].type, list[i].count, list[i].value);
    if (code == CUDNN_STATUS_SUCCESS) code = cudnn.cudnnBackendFinalize(pack);
    if (code == CUDNN_STATUS_SUCCESS) code = cudnn.cudnnBackendExecute(handle, c->plan, pack);
    (void)cudnn.cudnnBackendDestroyDescriptor(pack);
    return code;
}

/* ---- trying candidates out, on operands of their own ---- */

typedef struct trial {
    const graph *graph;
    dpt_device *device;
    dpt_stream *stream;
    cudaEvent_t begin, end;
    char *memory;
    size_t bytes, operand_bytes, result_bytes;
    void *data[4], *result, *workspace;
} trial;

static void trial_close(trial *t) {
    if (t->begin) (void)cudaEventDestroy(t->begin);
    if (t->end) (void)cudaEventDestroy(t->end);
    if (t->stream) t->device->ops->stream_destroy(t->device, t->stream);
    if (t->memory) t->device->ops->release(t->device, t->memory, t->bytes, DPT_FOR_COMPUTE);
}

static size_t volume(const int64_t size[3]) { return (size_t)(size[0] * size[1] * size[2]); }

static dpt_status trial_open(trial *t, const dpt_call *call, const graph *g, size_t workspace_bytes) {
    const dpt_dnn_conv *c = g->conv;
    const dpt_conv_sizes *s = &c->sizes;
    const size_t batch = (size_t)s->batch, in = (size_t)s->in_channels, out = (size_t)s->out_channels;
    const size_t count[4] = {batch * in * volume(s->in), out * (in / (size_t)s->groups) * volume(s->kernel),
                             batch * out * volume(s->out), c->bias ? out : 0};
    const int result = c->kind == DPT_CONV_FORWARD ? 2 : c->kind == DPT_CONV_DGRAD ? 0 : 1;
    size_t at[4];
    dpt_status status;
    *t = (trial){.graph = g, .device = call->device};
    for (int i = 0; i < 4; i++) {
        size_t bytes = count[i] * dpt_dtype_size(i == result ? c->out : c->in);
        at[i] = t->operand_bytes;
        t->operand_bytes += dpt_align(bytes);
        if (i == result) t->result_bytes = bytes;
    }
    t->bytes = t->operand_bytes + workspace_bytes;
    void *memory = NULL;
    DPT_TRY(t->device->ops->alloc(t->device, t->bytes, DPT_FOR_COMPUTE, &memory));
    t->memory = memory;
    for (int i = 0; i < 4; i++) t->data[i] = count[i] ? t->memory + at[i] : NULL;
    t->result = t->data[result];
    t->workspace = t->memory + t->operand_bytes;
    DPT_TRY_GOTO(t->device->ops->stream_create(t->device, 0, &t->stream), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventCreate(&t->begin)), fail);
    DPT_TRY_GOTO(DPT_CUDA(cudaEventCreate(&t->end)), fail);
    return DPT_OK;
fail:
    trial_close(t);
    return status;
}

/* Fills operands and result with one byte: 0x3c makes small numbers of every type, 0xff NaN. */
static dpt_status trial_fill(trial *t, int byte) {
    return DPT_CUDA(cudaMemsetAsync(t->memory, byte, t->operand_bytes, t->stream->cuda));
}

static cudnnStatus_t trial_execute(const trial *t, const candidate *c) {
    return execute(t->graph->handle, c, t->data, t->workspace, t->stream);
}

/* Microseconds of one run; FLT_MAX where the engine refuses. */
static dpt_status measure(const trial *t, const candidate *c, float *microseconds) {
    enum { RUNS = 3 };
    float milliseconds = 0;
    *microseconds = FLT_MAX;
    if (trial_execute(t, c) != CUDNN_STATUS_SUCCESS) return DPT_OK;
    DPT_TRY(DPT_CUDA(cudaEventRecord(t->begin, t->stream->cuda)));
    for (int i = 0; i < RUNS; i++)
        if (trial_execute(t, c) != CUDNN_STATUS_SUCCESS) return DPT_OK;
    DPT_TRY(DPT_CUDA(cudaEventRecord(t->end, t->stream->cuda)));
    DPT_TRY(DPT_CUDA(cudaEventSynchronize(t->end)));
    DPT_TRY(DPT_CUDA(cudaEventElapsedTime(&milliseconds, t->begin, t->end)));
    *microseconds = 1000 * milliseconds / RUNS;
    return DPT_OK;
}

static bool all_nan(dpt_dtype dtype, const char *data, size_t bytes) {
    size_t size = dpt_dtype_size(dtype);
    for (size_t i = 0; i + size <= bytes; i += size) {
        uint16_t bits;
        float value;
        memcpy(&bits, data + i, sizeof bits);
        if (dtype == DPT_BF16 && (bits & 0x7fff) <= 0x7f80) return false;
        if (dtype == DPT_F16 && (bits & 0x7fff) <= 0x7c00) return false;
        if (dtype == DPT_F32 && (memcpy(&value, data + i, sizeof value), value == value)) return false;
    }
    return true;
}

/* Whether NaN gives NaN, at the beginning and at the end of the result. */
static dpt_status keeps_nan(trial *t, const candidate *c, bool *keeps) {
    char host[NAN_CHECK_BYTES];
    size_t bytes = t->result_bytes < sizeof host ? t->result_bytes : sizeof host;
    size_t start[2] = {0, t->result_bytes - bytes};
    *keeps = false;
    DPT_TRY(trial_fill(t, 0xff));
    DPT_TRY(t->device->ops->zero(t->device, t->result, t->result_bytes, t->stream));
    if (trial_execute(t, c) != CUDNN_STATUS_SUCCESS) return DPT_OK;
    for (int i = 0; i < 2; i++) {
        DPT_TRY(t->device->ops->copy_out(t->device, host, (const char *)t->result + start[i], bytes, NULL));
        if (!all_nan(t->graph->conv->out, host, bytes)) return DPT_OK;
    }
    *keeps = true;
    return DPT_OK;
}

/* The fastest that may be used; the first unless another is faster by more than times scatter, or `first`. -1: none. */
static dpt_status pick(trial *t, const candidate *list, int count, bool first, int *best) {
    float times[CANDIDATES], least = FLT_MAX;
    *best = -1;
    DPT_TRY(trial_fill(t, 0x3c));
    for (int i = 0; i < count && !first; i++) DPT_TRY(measure(t, &list[i], &times[i]));
    for (int i = 0; i < count; i++) {
        bool keeps = true;
        if (!first && !(times[i] < (*best < 0 ? least : 0.97F * least))) continue;
        if (t->graph->conv->relu) DPT_TRY(keeps_nan(t, &list[i], &keeps));
        if (!keeps) continue;
        *best = i;
        if (first) return DPT_OK;
        least = times[i];
    }
    return DPT_OK;
}

/* ---- choosing ---- */

static const char *kind_text(dpt_conv_kind kind) {
    return kind == DPT_CONV_FORWARD ? "forward" : kind == DPT_CONV_DGRAD ? "data gradient" : "weight gradient";
}

/* Without memory for a trial the first candidate is taken, and none with ReLU. */
static dpt_status choose(const dpt_call *call, graph *g, const candidate *list, int count, int *best) {
    const bool first = call->device->deterministic || count == 1;
    size_t workspace_bytes = 0;
    trial t;
    *best = count > 0 && !g->conv->relu ? 0 : -1;
    if (count == 0 || (first && !g->conv->relu)) return DPT_OK;
    for (int i = 0; i < count; i++)
        if (list[i].workspace_bytes > workspace_bytes) workspace_bytes = list[i].workspace_bytes;
    dpt_status status = trial_open(&t, call, g, workspace_bytes);
    if (status == DPT_ERR_MEMORY) return DPT_OK;
    DPT_TRY(status);
    status = pick(&t, list, count, first, best);
    trial_close(&t);
    return status;
}

static dpt_status plan_make(const dpt_call *call, dpt_dnn_plan *p) {
    graph g = {.conv = &p->conv};
    candidate list[CANDIDATES + 1];
    int count = 0, best = -1;
    dpt_status status;
    DPT_TRY(handle_of(p->device, &g.handle));
    status = open_graph(&g);
    if (status == DPT_OK) propose(&g, call, CUDNN_HEUR_MODE_A, list, &count);
    if (status == DPT_OK && count == 0) propose(&g, call, CUDNN_HEUR_MODE_FALLBACK, list, &count);
    /* a graph that cuDNN does not know is no error: it is made without it */
    status = status == DPT_OK ? choose(call, &g, list, count, &best) : DPT_OK;
    p->supported = status == DPT_OK && best >= 0;
    dpt_log(DPT_LOG_DEBUG, "cuDNN: %s of %lld rows, %lld to %lld channels, %s to %s%s%s: engine %d of %d",
            kind_text(p->conv.kind), (long long)p->conv.sizes.batch, (long long)p->conv.sizes.in_channels,
            (long long)p->conv.sizes.out_channels, dpt_dtype_text(p->conv.in), dpt_dtype_text(p->conv.out),
            p->conv.bias ? " + bias" : "", p->conv.relu ? " with ReLU" : "", best + 1, count);
    if (!p->supported) {
        forget(&g, 0);
        return status;
    }
    p->handle = g.handle;
    p->plan = list[best].plan;
    p->workspace_bytes = list[best].workspace_bytes;
    return DPT_OK;
}

static bool same_sizes(const dpt_conv_sizes *a, const dpt_conv_sizes *b) {
    for (int i = 0; i < 3; i++)
        if (a->in[i] != b->in[i] || a->kernel[i] != b->kernel[i] || a->stride[i] != b->stride[i] ||
            a->pad[i] != b->pad[i] || a->dilation[i] != b->dilation[i])
            return false;
    return a->batch == b->batch && a->in_channels == b->in_channels && a->out_channels == b->out_channels &&
           a->groups == b->groups;
}

static bool same(const dpt_dnn_plan *p, const dpt_dnn_plan *wanted) {
    const dpt_dnn_conv *a = &p->conv, *b = &wanted->conv;
    return p->device == wanted->device && p->tf32 == wanted->tf32 && p->deterministic == wanted->deterministic &&
           a->kind == b->kind && a->spatial == b->spatial && a->in == b->in && a->out == b->out &&
           a->channels_last == b->channels_last && a->bias == b->bias && a->relu == b->relu && a->slope == b->slope &&
           same_sizes(&a->sizes, &b->sizes);
}

/* The plan for the shape, from what is known or anew; under the lock. */
static dpt_status look_up(const dpt_call *call, const dpt_dnn_plan *wanted, const dpt_dnn_plan **found) {
    for (const dpt_dnn_plan *p = plans; p != NULL; p = p->next)
        if (same(p, wanted)) {
            *found = p;
            return DPT_OK;
        }
    dpt_dnn_plan *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    *made = *wanted;
    dpt_status status = plan_make(call, made);
    if (status != DPT_OK) {
        dpt_free(made);
        return status;
    }
    made->next = plans;
    plans = made;
    *found = made;
    return DPT_OK;
}

dpt_status dpt_dnn_conv_prepare(const dpt_call *call, const dpt_dnn_conv *conv, const dpt_dnn_plan **plan,
                                size_t *workspace_bytes) {
    *plan = NULL;
    *workspace_bytes = 0;
    if (conv->in == DPT_F64 || !dpt_dnn_available()) return DPT_OK;
    DPT_TRY(DPT_CUDA(cudaSetDevice(dpt_cuda_device_of(call)->index)));
    const dpt_dnn_plan wanted = {.device = dpt_cuda_device_of(call)->index,
                                 .tf32 = call->tf32 && conv->in == DPT_F32,
                                 .deterministic = call->device->deterministic,
                                 .conv = *conv};
    const dpt_dnn_plan *found = NULL;
    pthread_mutex_lock(&lock);
    dpt_status status = look_up(call, &wanted, &found);
    pthread_mutex_unlock(&lock);
    if (status != DPT_OK || !found->supported) return status;
    *plan = found;
    *workspace_bytes = found->workspace_bytes;
    return DPT_OK;
}

dpt_status dpt_dnn_conv_run(const dpt_dnn_plan *plan, void *x, void *w, void *y, const void *bias, void *workspace,
                            dpt_stream *stream) {
    const candidate chosen = {plan->plan, plan->workspace_bytes};
    void *const data[4] = {x, w, y, plan->conv.bias ? (void *)(uintptr_t)bias : NULL};
    pthread_mutex_lock(&lock);
    cudnnStatus_t code = execute(plan->handle, &chosen, data, workspace, stream);
    pthread_mutex_unlock(&lock);
    return dnn_status(code, "cudnnBackendExecute");
}

#endif
