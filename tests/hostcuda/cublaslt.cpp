/* cublaslt.cpp: cuBLASLt's interface, as far as the CUDA backend uses it: descriptions, heuristics, the product. The
 * arithmetic is in matmul.cpp.
 *
 * What the manual rules out is refused: types that do not go together, leading dimensions and alignments that do not
 * fit, an algorithm used for another product than it was found for, too small a workspace. Three algorithms are
 * proposed; they compute the same, but want different workspaces, and fill them with 0xff. The environment makes the
 * library poorer: HOSTCUDA_LT_EPILOGUES=0 refuses all epilogues. Invariant: what is not implemented ends the process
 * and names itself. */
#include <cublasLt.h>
#include <string.h>

#include <algorithm>

#include "block.h"
#include "matmul.h"
#include "memory.h"
#include "queue.h"
#include "setting.h"

struct cublasLtContext {
    int device;
};

namespace hostcuda {

namespace {

/* In the opaque structures of NVIDIA's header. */
struct description {
    cublasComputeType_t compute;
    cudaDataType scale, bias_type;
    bool bias_type_set;
    int32_t pointer_mode, transpose_a, transpose_b, sm_count;
    uint32_t epilogue;
    void *bias, *aux;
    int64_t bias_stride, aux_ld, aux_stride;
};
struct preference {
    uint64_t workspace_bytes;
    uint32_t reductions, alignment[4];
};
struct algorithm {
    uint64_t magic, problem, workspace_bytes;
    uint32_t alignment[4];
};
const uint64_t algorithm_magic = 0x686f73746c74u;
static_assert(sizeof(description) <= sizeof(cublasLtMatmulDescOpaque_t), "description is too large");
static_assert(sizeof(matrix) <= sizeof(cublasLtMatrixLayoutOpaque_t), "matrix is too large");
static_assert(sizeof(preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "preference is too large");
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t), "algorithm is too large");

template <typename To, typename From>
To *as(From *opaque) {
    return reinterpret_cast<To *>(opaque);
}
template <typename To, typename From>
const To *as(const From *opaque) {
    return reinterpret_cast<const To *>(opaque);
}

/* An attribute: the caller's bytes must be of the attribute's size. */
template <typename T>
cublasStatus_t set(T *to, const void *from, size_t bytes) {
    if (from == NULL || bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(static_cast<void *>(to), from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t set_layout(matrix *m, cublasLtMatrixLayoutAttribute_t name, const void *from, size_t bytes) {
    int32_t batch;
    switch (name) {
        case CUBLASLT_MATRIX_LAYOUT_ORDER: return set(&m->order, from, bytes);
        case CUBLASLT_MATRIX_LAYOUT_LD: return set(&m->ld, from, bytes);
        case CUBLASLT_MATRIX_LAYOUT_ROWS: return set(&m->rows, from, bytes);
        case CUBLASLT_MATRIX_LAYOUT_COLS: return set(&m->columns, from, bytes);
        case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&m->stride, from, bytes);
        case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
            if (set(&batch, from, bytes) != CUBLAS_STATUS_SUCCESS || batch < 1) return CUBLAS_STATUS_INVALID_VALUE;
            m->batch = batch;
            return CUBLAS_STATUS_SUCCESS;
        default: fatal("cublasLtMatrixLayoutSetAttribute: attribute %d is not implemented", (int)name);
    }
}

cublasStatus_t set_description(description *d, cublasLtMatmulDescAttributes_t name, const void *from, size_t bytes) {
    switch (name) {
        case CUBLASLT_MATMUL_DESC_TRANSA: return set(&d->transpose_a, from, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return set(&d->transpose_b, from, bytes);
        case CUBLASLT_MATMUL_DESC_POINTER_MODE: return set(&d->pointer_mode, from, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&d->epilogue, from, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&d->bias, from, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE: return set(&d->bias_stride, from, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: d->bias_type_set = true; return set(&d->bias_type, from, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: return set(&d->aux, from, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: return set(&d->aux_ld, from, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE: return set(&d->aux_stride, from, bytes);
        case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET: return set(&d->sm_count, from, bytes);
        default: fatal("cublasLtMatmulDescSetAttribute: attribute %d is not implemented", (int)name);
    }
}

cublasStatus_t set_preference(preference *p, cublasLtMatmulPreferenceAttributes_t name, const void *from,
                              size_t bytes) {
    switch (name) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(&p->workspace_bytes, from, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(&p->reductions, from, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(&p->alignment[0], from, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(&p->alignment[1], from, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(&p->alignment[2], from, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(&p->alignment[3], from, bytes);
        default: fatal("cublasLtMatmulPreferenceSetAttribute: attribute %d is not implemented", (int)name);
    }
}

/* ---- what the library can do ---- */

bool is_narrow(cudaDataType type) { return type == CUDA_R_16F || type == CUDA_R_16BF; }

/* The manual's table of types, without complex and 8-bit ones. */
bool types_go_together(const product &p) {
    if (p.a.type != p.b.type || p.c.type != p.d.type) return false;
    switch (p.compute) {
        case CUBLAS_COMPUTE_64F:
        case CUBLAS_COMPUTE_64F_PEDANTIC:
            return p.scale == CUDA_R_64F && p.a.type == CUDA_R_64F && p.d.type == CUDA_R_64F;
        case CUBLAS_COMPUTE_32F:
        case CUBLAS_COMPUTE_32F_PEDANTIC:
            if (p.scale != CUDA_R_32F) return false;
            if (is_narrow(p.a.type)) return p.d.type == p.a.type || p.d.type == CUDA_R_32F;
            return p.a.type == CUDA_R_32F && p.d.type == CUDA_R_32F;
        case CUBLAS_COMPUTE_32F_FAST_TF32:
        case CUBLAS_COMPUTE_32F_FAST_16F:
        case CUBLAS_COMPUTE_32F_FAST_16BF:
            return p.scale == CUDA_R_32F && p.a.type == CUDA_R_32F && p.d.type == CUDA_R_32F;
        default: return false;
    }
}

bool layout_is_sound(const matrix &m) {
    int64_t least = m.order == CUBLASLT_ORDER_ROW ? m.columns : m.rows;
    return m.rows > 0 && m.columns > 0 && m.ld >= least &&
           (m.order == CUBLASLT_ORDER_COL || m.order == CUBLASLT_ORDER_ROW);
}

bool uses_aux(uint32_t epilogue) { return (epilogue & 128) != 0; }
bool uses_bias(uint32_t epilogue) { return (epilogue & (CUBLASLT_EPILOGUE_BIAS | 16 | 256 | 512)) != 0; }

cublasStatus_t check_epilogue(const product &p) {
    switch (p.epilogue) {
        case CUBLASLT_EPILOGUE_DEFAULT: return CUBLAS_STATUS_SUCCESS;
        case CUBLASLT_EPILOGUE_BIAS:
        case CUBLASLT_EPILOGUE_RELU:
        case CUBLASLT_EPILOGUE_RELU_BIAS:
        case CUBLASLT_EPILOGUE_RELU_AUX:
        case CUBLASLT_EPILOGUE_RELU_AUX_BIAS:
        case CUBLASLT_EPILOGUE_DRELU:
        case CUBLASLT_EPILOGUE_DRELU_BGRAD:
        case CUBLASLT_EPILOGUE_GELU:
        case CUBLASLT_EPILOGUE_GELU_BIAS:
        case CUBLASLT_EPILOGUE_GELU_AUX:
        case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
        case CUBLASLT_EPILOGUE_DGELU:
        case CUBLASLT_EPILOGUE_DGELU_BGRAD: break;
        case CUBLASLT_EPILOGUE_BGRADA:
        case CUBLASLT_EPILOGUE_BGRADB:
            if (p.a.type == CUDA_R_64F) return CUBLAS_STATUS_NOT_SUPPORTED;
            break;
        default: return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (setting("HOSTCUDA_LT_EPILOGUES", 1) == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.d.order == CUBLASLT_ORDER_ROW) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (uses_bias(p.epilogue) && p.bias_type != p.d.type) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (uses_bias(p.epilogue) && p.d.batch > 1 && p.epilogue >= 16) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool bits = (p.epilogue & (CUBLASLT_EPILOGUE_RELU | 8)) != 0;
    if (uses_aux(p.epilogue) && (p.aux_ld < p.m || p.aux_ld % (bits ? 128 : 8) != 0))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

/* Puts the descriptions together; what cannot be a product is invalid, what the library lacks not supported. */
cublasStatus_t make_product(const description &d, const matrix &a, const matrix &b, const matrix &c, const matrix &to,
                            product *p) {
    *p = {d.compute,
          d.scale,
          d.transpose_a != CUBLAS_OP_N,
          d.transpose_b != CUBLAS_OP_N,
          (cublasLtEpilogue_t)d.epilogue,
          d.bias,
          d.bias_type_set ? d.bias_type : to.type,
          d.bias_stride,
          d.aux,
          d.aux_ld,
          d.aux_stride,
          a,
          b,
          c,
          to,
          to.rows,
          to.columns,
          0,
          1,
          0};
    if (!layout_is_sound(a) || !layout_is_sound(b) || !layout_is_sound(c) || !layout_is_sound(to))
        return CUBLAS_STATUS_INVALID_VALUE;
    p->k = p->transpose_a ? a.rows : a.columns;
    int64_t m = p->transpose_a ? a.columns : a.rows, n = p->transpose_b ? b.rows : b.columns;
    if (m != p->m || n != p->n || p->k != (p->transpose_b ? b.columns : b.rows)) return CUBLAS_STATUS_INVALID_VALUE;
    if (c.rows != to.rows || c.columns != to.columns) return CUBLAS_STATUS_INVALID_VALUE;
    if (a.batch != to.batch || b.batch != to.batch || c.batch != to.batch) return CUBLAS_STATUS_INVALID_VALUE;
    if (!types_go_together(*p)) return CUBLAS_STATUS_NOT_SUPPORTED;
    return check_epilogue(*p);
}

/* What an algorithm was found for: it may not be used for anything else. */
uint64_t problem_of(const product &p) {
    const uint64_t of[] = {(uint64_t)p.compute, p.transpose_a,        p.transpose_b,        (uint64_t)p.epilogue,
                           (uint64_t)p.a.type,  (uint64_t)p.d.type,   (uint64_t)p.m,        (uint64_t)p.n,
                           (uint64_t)p.k,       (uint64_t)p.a.ld,     (uint64_t)p.b.ld,     (uint64_t)p.d.ld,
                           (uint64_t)p.d.batch, (uint64_t)p.a.stride, (uint64_t)p.b.stride, (uint64_t)p.d.stride,
                           (uint64_t)p.a.order, (uint64_t)p.b.order};
    uint64_t hash = 14695981039346656037u;
    for (uint64_t v : of) hash = (hash ^ v) * 1099511628211u;
    return hash;
}

bool is_aligned(const void *pointer, uint32_t bytes) { return reinterpret_cast<uintptr_t>(pointer) % bytes == 0; }

cublasStatus_t check_pointers(const product &p, const algorithm *chosen, const void *a, const void *b, const void *c,
                              const void *d) {
    const void *pointers[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        if (pointers[i] == NULL && !(i == 2 && p.beta == 0)) return CUBLAS_STATUS_INVALID_VALUE;
        uint32_t needs = chosen != NULL ? chosen->alignment[i] : 16;
        if (!is_aligned(pointers[i], needs)) return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (uses_bias(p.epilogue) && (p.bias == NULL || !is_aligned(p.bias, (uint32_t)element_size(p.bias_type))))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (uses_aux(p.epilogue) && (p.aux == NULL || !is_aligned(p.aux, 16))) return CUBLAS_STATUS_INVALID_VALUE;
    if (c == d && (p.c.ld != p.d.ld || p.c.order != p.d.order)) return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t status_of(cudaError_t code) {
    return code == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

/* alpha or beta: from the host now, from the device when the product runs. */
double scalar(const product &p, const void *at) {
    return p.scale == CUDA_R_64F ? *static_cast<const double *>(at) : (double)*static_cast<const float *>(at);
}

}  // namespace

}  // namespace hostcuda

using namespace hostcuda;

extern "C" {

size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "CUBLAS_STATUS_UNKNOWN";
    }
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "success";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
        case CUBLAS_STATUS_ALLOC_FAILED: return "the resource allocation failed";
        case CUBLAS_STATUS_INVALID_VALUE: return "an invalid value was used as an argument";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "the function failed to launch on the GPU";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "the functionality is not supported";
        default: return "unknown error";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    entry held;
    *handle = NULL;
    if (use_device() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasLtContext{this_thread().device};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t ld) {
    *layout = NULL;
    if (element_size(type) == 0) return CUBLAS_STATUS_INVALID_VALUE;
    *layout = new cublasLtMatrixLayoutOpaque_t();
    *as<matrix>(*layout) = {type, CUBLASLT_ORDER_COL, (int64_t)rows, (int64_t)columns, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name,
                                                const void *from, size_t bytes) {
    return set_layout(as<matrix>(layout), name, from, bytes);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *operation, cublasComputeType_t compute,
                                        cudaDataType scale) {
    *operation = new cublasLtMatmulDescOpaque_t();
    description *d = as<description>(*operation);
    *d = {};
    d->compute = compute, d->scale = scale;
    d->transpose_a = d->transpose_b = CUBLAS_OP_N;
    d->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
    delete operation;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name,
                                              const void *from, size_t bytes) {
    return set_description(as<description>(operation), name, from, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *made) {
    *made = new cublasLtMatmulPreferenceOpaque_t();
    *as<preference>(*made) = {0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t made) {
    delete made;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t made,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void *from,
                                                    size_t bytes) {
    return set_preference(as<preference>(made), name, from, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wanted, int most,
                                              cublasLtMatmulHeuristicResult_t *found, int *n) {
    static const uint64_t workspaces[] = {64 << 10, 0, 1 << 20};
    product p;
    *n = 0;
    if (handle == NULL) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (most < 1) return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status =
        make_product(*as<description>(operation), *as<matrix>(a), *as<matrix>(b), *as<matrix>(c), *as<matrix>(d), &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const preference *w = as<preference>(wanted);
    for (uint64_t workspace : workspaces) {
        if (*n == most || workspace > w->workspace_bytes) continue;
        cublasLtMatmulHeuristicResult_t *r = &found[(*n)++];
        memset(r, 0, sizeof *r);
        algorithm *chosen = as<algorithm>(&r->algo);
        *chosen = {algorithm_magic, problem_of(p), workspace, {}};
        std::copy(w->alignment, w->alignment + 4, chosen->alignment);
        r->workspaceSize = workspace;
        r->state = CUBLAS_STATUS_SUCCESS;
        r->wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
    entry held;
    if (handle == NULL) return CUBLAS_STATUS_NOT_INITIALIZED;
    product p;
    const description *description_ = as<description>(operation);
    cublasStatus_t status = make_product(*description_, *as<matrix>(a_layout), *as<matrix>(b_layout),
                                         *as<matrix>(c_layout), *as<matrix>(d_layout), &p);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const algorithm *chosen = algo != NULL ? as<algorithm>(algo) : NULL;
    size_t needs = chosen != NULL ? chosen->workspace_bytes : 0;
    if (chosen != NULL && (chosen->magic != algorithm_magic || chosen->problem != problem_of(p)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (needs > workspace_bytes || (needs > 0 && !is_aligned(workspace, 16))) return CUBLAS_STATUS_INVALID_VALUE;
    bool on_device = description_->pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
    if (!on_device && description_->pointer_mode != CUBLASLT_POINTER_MODE_HOST) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!on_device) p.alpha = scalar(p, alpha), p.beta = scalar(p, beta);
    status = check_pointers(p, chosen, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    cudaError_t code = use_device();
    if (code == cudaSuccess) code = check_stream(&stream);
    if (code != cudaSuccess) return status_of(code);
    count.launch++;
    return status_of(enqueue(stream, "cublasLtMatmul", true, [=] {
        product now = p;
        if (on_device) now.alpha = scalar(p, alpha), now.beta = scalar(p, beta);
        if (needs > 0) memset(workspace, 0xff, needs);
        multiply(now, a, b, c, d);
    }));
}
}
