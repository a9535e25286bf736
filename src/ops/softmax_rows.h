/* softmax_rows.h: the row loops of softmax.c, for one type: included there once with REAL float and once with double;
 * NAME(x) is x_f32 or x_f64. No include guard, for that reason. Each function handles rows [begin, end) of n logits x;
 * rows do not depend on each other, and the output may stand in the place of the logits. */

DPT_INLINE REAL NAME(max)(const REAL *x, int64_t n) {
    REAL max = x[0];
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* y = exp(x - max); returns the sum. */
DPT_INLINE double NAME(exp_row)(const REAL *x, int64_t n, REAL *y) {
    const REAL max = NAME(max)(x, n);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const REAL e = NAME(dpt_exp)(x[i] - max);
        y[i] = e;
        sum += (double)e;
    }
    return sum;
}

/* y = exp(x - max) / sum */
DPT_HOT_LOOP static void NAME(softmax)(void *context, int64_t begin, int64_t end) {
    const row_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const REAL factor = (REAL)(1.0 / NAME(exp_row)((const REAL *)run->x + r * n, n, y));
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] *= factor;
    }
}

/* y = log(sum exp(x - max)) - (x[t] - max) */
DPT_HOT_LOOP static void NAME(cross_entropy)(void *context, int64_t begin, int64_t end) {
    const row_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        const REAL *x = (const REAL *)run->x + r * n;
        const REAL max = NAME(max)(x, n);
        const int64_t t = target_of(run, r);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += (double)NAME(dpt_exp)(x[i] - max);
        const double loss = in_range(t, n) ? log(sum) - ((double)x[t] - (double)max) : (double)NAN;
        ((REAL *)run->y)[r] = (REAL)loss;
    }
}

/* y = g (softmax(x) - one_hot(t)) */
DPT_HOT_LOOP static void NAME(cross_entropy_grad)(void *context, int64_t begin, int64_t end) {
    const row_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const REAL g = ((const REAL *)run->g)[r];
        const int64_t t = target_of(run, r);
        const REAL factor = (REAL)((double)g / NAME(exp_row)((const REAL *)run->x + r * n, n, y));
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] *= factor;
        if (in_range(t, n)) y[t] -= g;
    }
}

/* y = 1 where x[t] is above all logits before it and not below any after it; never where one is NaN. */
static void NAME(accuracy)(void *context, int64_t begin, int64_t end) {
    const row_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        const REAL *x = (const REAL *)run->x + r * n;
        const int64_t t = target_of(run, r);
        bool right = in_range(t, n);
        for (int64_t i = 0; i < n && right; i++) right = i < t ? x[i] < x[t] : x[i] <= x[t];
        ((REAL *)run->y)[r] = right ? 1 : 0;
    }
}

static void NAME(one_hot)(void *context, int64_t begin, int64_t end) {
    const row_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const int64_t t = target_of(run, r);
        memset(y, 0, (size_t)n * sizeof *y);
        if (in_range(t, n)) y[t] = 1;
    }
}
