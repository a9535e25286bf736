/* normal_polynomial.h: P of the normal distribution's tail (fastmath.h; gelu.cuh on the device), by Horner's rule. One
 * place, so that both sides compute gelu with the same numbers. */
#ifndef DPT_OPS_NORMAL_POLYNOMIAL_H
#define DPT_OPS_NORMAL_POLYNOMIAL_H

// clang-format off
#define DPT_NORMAL_POLYNOMIAL(q) \
    ((((((((((-1.572668358e-04F \
        * (q) - 3.108643643e-04F) \
        * (q) + 6.843453530e-04F) \
        * (q) + 2.523296720e-03F) \
        * (q) - 1.600961778e-03F) \
        * (q) - 1.638602142e-02F) \
        * (q) + 9.235915009e-03F) \
        * (q) + 1.319869654e-01F) \
        * (q) - 4.336920145e-01F) \
        * (q) + 7.066566601e-01F))
// clang-format on

#endif
