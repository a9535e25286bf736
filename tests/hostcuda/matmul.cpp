/* matmul.cpp: see matmul.h. f32 by oneDNN's sgemm, on the operands where they lie; 16-bit operands are widened first
 * and the result is rounded to nearest even once, after the epilogue, as on the device; f64 by plain loops. Products of
 * NaN are NaN, unless HOSTCUDA_RELU_DROPS_NAN asks for a ReLU that returns 0 for it: NVIDIA promises neither. */
#include "matmul.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <dnnl.h>
#include <math.h>

#include <vector>

#include "block.h"
#include "setting.h"

namespace hostcuda {

size_t element_size(cudaDataType type) {
    switch (type) {
        case CUDA_R_64F: return 8;
        case CUDA_R_32F: return 4;
        case CUDA_R_16F:
        case CUDA_R_16BF: return 2;
        default: return 0;
    }
}

namespace {

template <typename Wide>
Wide load(cudaDataType type, const void *memory, int64_t i) {
    switch (type) {
        case CUDA_R_64F: return (Wide) static_cast<const double *>(memory)[i];
        case CUDA_R_16F: return (Wide)__half2float(static_cast<const __half *>(memory)[i]);
        case CUDA_R_16BF: return (Wide)__bfloat162float(static_cast<const __nv_bfloat16 *>(memory)[i]);
        default: return (Wide) static_cast<const float *>(memory)[i];
    }
}

template <typename Wide>
void store(cudaDataType type, void *memory, int64_t i, Wide v) {
    switch (type) {
        case CUDA_R_64F: static_cast<double *>(memory)[i] = (double)v; break;
        case CUDA_R_16F: static_cast<__half *>(memory)[i] = __float2half_rn((float)v); break;
        case CUDA_R_16BF: static_cast<__nv_bfloat16 *>(memory)[i] = __float2bfloat16_rn((float)v); break;
        default: static_cast<float *>(memory)[i] = (float)v;
    }
}

const void *at_batch(const matrix &m, const void *memory, int64_t i) {
    return static_cast<const char *>(memory) + (size_t)(i * m.stride) * element_size(m.type);
}

/* Where element (row, column) lies. */
int64_t offset(const matrix &m, int64_t row, int64_t column) {
    return m.order == CUBLASLT_ORDER_ROW ? row * m.ld + column : column * m.ld + row;
}

/* One operand as the inner loops want it: lines of `length` elements, `ld` apart. `rows_first`: a line is a row of
 * op(X). */
template <typename Wide>
struct operand {
    const Wide *data;
    int64_t ld;
    bool rows_first;
    std::vector<Wide> widened;

    operand(const matrix &m, bool transpose, const void *memory) {
        bool by_rows = m.order == CUBLASLT_ORDER_ROW;
        int64_t lines = by_rows ? m.rows : m.columns, length = by_rows ? m.columns : m.rows;
        rows_first = by_rows != transpose;
        if (element_size(m.type) == sizeof(Wide)) {
            data = static_cast<const Wide *>(memory);
            ld = m.ld;
            return;
        }
        widened.resize((size_t)(lines * length));
        for (int64_t l = 0; l < lines; l++)
            for (int64_t i = 0; i < length; i++)
                widened[(size_t)(l * length + i)] = load<Wide>(m.type, memory, l * m.ld + i);
        data = widened.data();
        ld = length;
    }

    /* Element (i, j) of op(X). */
    Wide at(int64_t i, int64_t j) const { return rows_first ? data[i * ld + j] : data[j * ld + i]; }
};

/* c [m,n] row by row = op(a) op(b). */
void inner(const product &p, const operand<float> &a, const operand<float> &b, float *c) {
    dnnl_status_t status = dnnl_sgemm(a.rows_first ? 'N' : 'T', b.rows_first ? 'N' : 'T', p.m, p.n, p.k, 1.0f, a.data,
                                      a.ld, b.data, b.ld, 0.0f, c, p.n);
    if (status != dnnl_success) fatal("dnnl_sgemm returned %d", (int)status);
}

void inner(const product &p, const operand<double> &a, const operand<double> &b, double *c) {
    for (int64_t i = 0; i < p.m; i++) {
        double *row = c + i * p.n;
        for (int64_t j = 0; j < p.n; j++) row[j] = 0;
        for (int64_t l = 0; l < p.k; l++) {
            double factor = a.at(i, l);
            for (int64_t j = 0; j < p.n; j++) row[j] += factor * b.at(l, j);
        }
    }
}

/* cuBLASLt's GELU is the one by tanh: x/2 (1 + tanh(s)), s = sqrt(2/pi) (x + 0.044715 x^3). */
template <typename Wide>
Wide gelu(Wide x) {
    const Wide c = (Wide)0.7978845608028654;
    return x / 2 * (1 + tanh(c * (x + (Wide)0.044715 * x * x * x)));
}
template <typename Wide>
Wide gelu_derivative(Wide x) {
    const Wide c = (Wide)0.7978845608028654;
    Wide t = tanh(c * (x + (Wide)0.044715 * x * x * x));
    return (1 + t) / 2 + x / 2 * (1 - t * t) * c * (1 + (Wide)0.134145 * x * x);
}

template <typename Wide>
Wide relu(Wide x) {
    if (x != x && setting("HOSTCUDA_RELU_DROPS_NAN", 0) != 0) return 0;
    return x < 0 ? 0 : x;
}

/* Bit (i, j) of the mask: column by column, ld bits apart. */
void set_bit(void *mask, int64_t bit, bool value) {
    unsigned char *byte = static_cast<unsigned char *>(mask) + bit / 8;
    *byte = (unsigned char)((*byte & ~(1u << bit % 8)) | (value ? 1u << bit % 8 : 0u));
}
bool get_bit(const void *mask, int64_t bit) { return static_cast<const unsigned char *>(mask)[bit / 8] >> bit % 8 & 1; }

/* What follows the product for element (i, j), with what it leaves in aux. */
template <typename Wide>
Wide finish(const product &p, Wide x, int64_t i, int64_t j, const void *bias, void *aux) {
    unsigned with = (unsigned)p.epilogue;
    int64_t at = j * p.aux_ld + i;
    if (with & CUBLASLT_EPILOGUE_BIAS) x += load<Wide>(p.bias_type, bias, i);
    switch (with & ~((unsigned)CUBLASLT_EPILOGUE_BIAS | 16u)) {
        case CUBLASLT_EPILOGUE_RELU: return relu(x);
        case CUBLASLT_EPILOGUE_RELU_AUX: set_bit(aux, at, !(x <= 0)); return relu(x);
        case CUBLASLT_EPILOGUE_DRELU: return get_bit(aux, at) ? x : 0;
        case CUBLASLT_EPILOGUE_GELU: return gelu(x);
        case CUBLASLT_EPILOGUE_GELU_AUX: store(p.d.type, aux, at, x); return gelu(load<Wide>(p.d.type, aux, at));
        case CUBLASLT_EPILOGUE_DGELU: return x * gelu_derivative(load<Wide>(p.d.type, aux, at));
        default: return x;
    }
}

template <typename Wide>
void sum_rows(const product &p, const operand<Wide> &x, bool columns, int64_t lines, void *to) {
    for (int64_t i = 0; i < lines; i++) {
        Wide sum = 0;
        for (int64_t l = 0; l < p.k; l++) sum += columns ? x.at(l, i) : x.at(i, l);
        store(p.bias_type, to, i, sum);
    }
}

template <typename Wide>
void multiply_one(const product &p, const void *a_data, const void *b_data, const void *c, void *d, void *bias,
                  void *aux) {
    operand<Wide> a(p.a, p.transpose_a, a_data), b(p.b, p.transpose_b, b_data);
    std::vector<Wide> result((size_t)(p.m * p.n)), sums((size_t)p.m);
    inner(p, a, b, result.data());
    for (int64_t i = 0; i < p.m; i++)
        for (int64_t j = 0; j < p.n; j++) {
            Wide x = (Wide)p.alpha * result[(size_t)(i * p.n + j)];
            if (p.beta != 0) x += (Wide)p.beta * load<Wide>(p.c.type, c, offset(p.c, i, j));
            x = finish(p, x, i, j, bias, aux);
            sums[(size_t)i] += x;
            store(p.d.type, d, offset(p.d, i, j), x);
        }
    if (p.epilogue & 16)
        for (int64_t i = 0; i < p.m; i++) store(p.bias_type, bias, i, sums[(size_t)i]);
    if (p.epilogue == CUBLASLT_EPILOGUE_BGRADA) sum_rows(p, a, false, p.m, bias);
    if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB) sum_rows(p, b, true, p.n, bias);
}

}  // namespace

void multiply(const product &p, const void *a, const void *b, const void *c, void *d) {
    bool mask = (p.epilogue & ~(unsigned)CUBLASLT_EPILOGUE_BIAS) == CUBLASLT_EPILOGUE_RELU_AUX ||
                (p.epilogue & ~16u) == CUBLASLT_EPILOGUE_DRELU;
    for (int64_t i = 0; i < p.d.batch; i++) {
        size_t aux_bytes = mask ? (size_t)(i * p.aux_stride / 8) : (size_t)(i * p.aux_stride) * element_size(p.d.type);
        char *bias = static_cast<char *>(p.bias) + (size_t)(i * p.bias_stride) * element_size(p.bias_type);
        char *aux = static_cast<char *>(p.aux) + aux_bytes;
        auto one = p.compute == CUBLAS_COMPUTE_64F || p.compute == CUBLAS_COMPUTE_64F_PEDANTIC ? multiply_one<double>
                                                                                               : multiply_one<float>;
        one(p, at_batch(p.a, a, i), at_batch(p.b, b, i), at_batch(p.c, c, i), const_cast<void *>(at_batch(p.d, d, i)),
            bias, aux);
    }
}

}  // namespace hostcuda
