/* matmul.h: the arithmetic of cublasLtMatmul on the CPU; cublaslt.cpp has the interface. */
#ifndef HOSTCUDA_MATMUL_H
#define HOSTCUDA_MATMUL_H

#include <cublasLt.h>

namespace hostcuda {

struct matrix {
    cudaDataType type;
    cublasLtOrder_t order;
    int64_t rows, columns, ld;
    int64_t batch, stride; /* elements between the matrices of a batch */
};

/* D = epilogue(alpha op(A) op(B) + beta C), for each of D.batch products. */
struct product {
    cublasComputeType_t compute;
    cudaDataType scale;
    bool transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    void *bias; /* of type bias_type; read, or written by the epilogues that sum */
    cudaDataType bias_type;
    int64_t bias_stride;
    void *aux;
    int64_t aux_ld, aux_stride;
    matrix a, b, c, d;
    int64_t m, n, k;
    double alpha, beta;
};

size_t element_size(cudaDataType type);

/* The memory of the operands is read and written as laid out; C may be D. */
void multiply(const product &p, const void *a, const void *b, const void *c, void *d);

}  // namespace hostcuda

#endif
