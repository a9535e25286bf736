/* logistic.h: derivatives of the logistic function s(x) = 1/(1 + e^-x) as polynomials of s, for both backends (C11 and
 * C++17). s' = s (1 - s), so a power s^k becomes k s^k - k s^(k+1), and the n-th derivative is of degree n + 1. For
 * n >= 1 it is (-1)^(n+1) times its value at -x: it is taken where s is small, without cancellation. */
#ifndef DPT_OPS_LOGISTIC_H
#define DPT_OPS_LOGISTIC_H

enum { DPT_LOGISTIC_ORDERS = 16, DPT_LOGISTIC_POWERS = DPT_LOGISTIC_ORDERS + 2 };

/* c[k]: the coefficient of s^k in derivative number `order`, at most DPT_LOGISTIC_ORDERS. */
static inline void dpt_logistic_polynomial(int order, double c[DPT_LOGISTIC_POWERS]) {
    for (int k = 0; k < DPT_LOGISTIC_POWERS; k++) c[k] = k == 1;
    for (int n = 0; n < order; n++)
        for (int k = DPT_LOGISTIC_POWERS - 1; k > 0; k--) c[k] = k * c[k] - (k - 1) * c[k - 1];
}

#endif
