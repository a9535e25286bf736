/* softmax_rows.h: the loops of softmax.c and cross_entropy.c for one type: included once with REAL float and once with
 * double; NAME(x) is x_f32 or x_f64, and SOFTMAX_LOOPS or CROSS_ENTROPY_LOOPS says whose. No include guard, for that
 * reason. Each loop handles rows [begin, end), or pieces of up to DPT_CLASS_COLUMNS columns; rows do not depend on each
 * other, and the output may stand in the place of the logits. */

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

/* Sum of exp(x - max). */
DPT_INLINE double NAME(exp_sum)(const REAL *x, int64_t n, REAL max) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)NAME(dpt_exp)(x[i] - max);
    return sum;
}

DPT_INLINE void NAME(column_max)(const dpt_class_run *run, const REAL *x, int64_t count, REAL *max) {
    for (int64_t j = 0; j < count; j++) max[j] = x[j];
    for (int64_t i = 1; i < run->n; i++) {
        x += run->inner;
#pragma omp simd
        for (int64_t j = 0; j < count; j++) max[j] = x[j] > max[j] ? x[j] : max[j];
    }
}

/* sum += exp(x - max), by columns; y gets the exponentials, unless it is NULL. */
DPT_INLINE void NAME(column_exp)(const dpt_class_run *run, const REAL *x, int64_t count, const REAL *max, double *sum,
                                 REAL *y) {
    for (int64_t j = 0; j < count; j++) sum[j] = 0;
    for (int64_t i = 0; i < run->n; i++, x += run->inner) {
        if (y != NULL) {
#pragma omp simd
            for (int64_t j = 0; j < count; j++) {
                const REAL e = NAME(dpt_exp)(x[j] - max[j]);
                y[i * run->inner + j] = e;
                sum[j] += (double)e;
            }
        } else {
#pragma omp simd
            for (int64_t j = 0; j < count; j++) sum[j] += (double)NAME(dpt_exp)(x[j] - max[j]);
        }
    }
}

#ifdef SOFTMAX_LOOPS

/* y = exp(x - max) / sum */
DPT_HOT_LOOP static void NAME(softmax_rows)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const REAL factor = (REAL)(1.0 / NAME(exp_row)((const REAL *)run->x + r * n, n, y));
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] *= factor;
    }
}

DPT_HOT_LOOP static void NAME(softmax_columns)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    REAL max[DPT_CLASS_COLUMNS], factor[DPT_CLASS_COLUMNS];
    double sum[DPT_CLASS_COLUMNS];
    for (int64_t item = begin; item < end; item++) {
        const dpt_class_columns c = dpt_class_columns_of(run, item);
        const REAL *x = (const REAL *)run->x + c.at;
        REAL *y = (REAL *)run->y + c.at;
        NAME(column_max)(run, x, c.count, max);
        NAME(column_exp)(run, x, c.count, max, sum, y);
        for (int64_t j = 0; j < c.count; j++) factor[j] = (REAL)(1.0 / sum[j]);
        for (int64_t i = 0; i < run->n; i++, y += run->inner) {
#pragma omp simd
            for (int64_t j = 0; j < c.count; j++) y[j] *= factor[j];
        }
    }
}

/* y = x - max - log(sum) */
DPT_HOT_LOOP static void NAME(log_softmax_rows)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        const REAL *x = (const REAL *)run->x + r * n;
        REAL *y = (REAL *)run->y + r * n;
        const REAL max = NAME(max)(x, n), log_sum = (REAL)log(NAME(exp_sum)(x, n, max));
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = x[i] - max - log_sum;
    }
}

DPT_HOT_LOOP static void NAME(log_softmax_columns)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    REAL max[DPT_CLASS_COLUMNS], log_sum[DPT_CLASS_COLUMNS];
    double sum[DPT_CLASS_COLUMNS];
    for (int64_t item = begin; item < end; item++) {
        const dpt_class_columns c = dpt_class_columns_of(run, item);
        const REAL *x = (const REAL *)run->x + c.at;
        REAL *y = (REAL *)run->y + c.at;
        NAME(column_max)(run, x, c.count, max);
        NAME(column_exp)(run, x, c.count, max, sum, NULL);
        for (int64_t j = 0; j < c.count; j++) log_sum[j] = (REAL)log(sum[j]);
        for (int64_t i = 0; i < run->n; i++, x += run->inner, y += run->inner) {
#pragma omp simd
            for (int64_t j = 0; j < c.count; j++) y[j] = x[j] - max[j] - log_sum[j];
        }
    }
}

static void NAME(one_hot)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const int64_t t = dpt_class_target(run->target, r);
        memset(y, 0, (size_t)n * sizeof *y);
        if (dpt_class_in_range(t, n)) y[t] = 1;
    }
}

#endif
#ifdef CROSS_ENTROPY_LOOPS

/* What the target q of row r is: q_c = own [c = t] + each w_c; all = sum of q. Ignored rows have none. */
DPT_INLINE soft_target NAME(soft_target_of)(const dpt_class_run *run, int64_t r) {
    const REAL *w = run->weight;
    const double s = run->attr.smoothing;
    soft_target q = {.t = dpt_class_target(run->target, r)};
    if (run->attr.ignores && q.t == run->attr.ignore) return (soft_target){.ignored = true};
    q.sound = dpt_class_in_range(q.t, run->n);
    q.own = (1 - s) * (w && q.sound ? (double)w[q.t] : 1);
    q.each = s / (double)run->n;
    q.all = q.own + q.each * run->weights;
    return q;
}

/* Sum of w (x - max) over n classes that are `step` apart: 0 where nothing is spread. */
DPT_INLINE double NAME(spread_sum)(const dpt_class_run *run, const REAL *x, int64_t step, REAL max) {
    const REAL *w = run->weight;
    double sum = 0;
    for (int64_t i = 0; i < run->n; i++) sum += (w ? (double)w[i] : 1) * ((double)x[i * step] - (double)max);
    return sum;
}

/* all log(sum exp(x - max)) - own (x[t] - max) - each (sum of w (x - max)) */
DPT_INLINE REAL NAME(loss_of)(const dpt_class_run *run, int64_t r, const REAL *x, int64_t step, REAL max, double sum) {
    const soft_target q = NAME(soft_target_of)(run, r);
    if (q.ignored) return 0;
    if (!q.sound) return (REAL)NAN;
    double loss = q.all * log(sum) - q.own * ((double)x[q.t * step] - (double)max);
    if (q.each > 0) loss -= q.each * NAME(spread_sum)(run, x, step, max);
    return (REAL)loss;
}

DPT_HOT_LOOP static void NAME(loss_rows)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    for (int64_t r = begin; r < end; r++) {
        const REAL *x = (const REAL *)run->x + r * run->n;
        const REAL max = NAME(max)(x, run->n);
        ((REAL *)run->y)[r] = NAME(loss_of)(run, r, x, 1, max, NAME(exp_sum)(x, run->n, max));
    }
}

DPT_HOT_LOOP static void NAME(loss_columns)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    REAL max[DPT_CLASS_COLUMNS];
    double sum[DPT_CLASS_COLUMNS];
    for (int64_t item = begin; item < end; item++) {
        const dpt_class_columns c = dpt_class_columns_of(run, item);
        const REAL *x = (const REAL *)run->x + c.at;
        NAME(column_max)(run, x, c.count, max);
        NAME(column_exp)(run, x, c.count, max, sum, NULL);
        for (int64_t j = 0; j < c.count; j++)
            ((REAL *)run->y)[c.row + j] = NAME(loss_of)(run, c.row + j, x + j, run->inner, max[j], sum[j]);
    }
}

/* y = g (all softmax(x) - q); zeros where the target is ignored */
DPT_HOT_LOOP static void NAME(gradient_rows)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const REAL *w = run->weight;
    const int64_t n = run->n;
    for (int64_t r = begin; r < end; r++) {
        REAL *y = (REAL *)run->y + r * n;
        const soft_target q = NAME(soft_target_of)(run, r);
        if (q.ignored) {
            memset(y, 0, (size_t)n * sizeof *y);
            continue;
        }
        const REAL g = ((const REAL *)run->g)[r], each = (REAL)((double)g * q.each);
        const REAL factor = (REAL)((double)g * q.all / NAME(exp_row)((const REAL *)run->x + r * n, n, y));
        if (q.each > 0) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] = y[i] * factor - each * (w ? w[i] : 1);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) y[i] *= factor;
        }
        if (q.sound) y[q.t] -= (REAL)((double)g * q.own);
    }
}

DPT_HOT_LOOP static void NAME(gradient_columns)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const REAL *w = run->weight;
    REAL max[DPT_CLASS_COLUMNS], factor[DPT_CLASS_COLUMNS], each[DPT_CLASS_COLUMNS];
    double sum[DPT_CLASS_COLUMNS];
    for (int64_t item = begin; item < end; item++) {
        const dpt_class_columns c = dpt_class_columns_of(run, item);
        REAL *y = (REAL *)run->y + c.at;
        NAME(column_max)(run, (const REAL *)run->x + c.at, c.count, max);
        NAME(column_exp)(run, (const REAL *)run->x + c.at, c.count, max, sum, y);
        for (int64_t j = 0; j < c.count; j++) {
            const soft_target q = NAME(soft_target_of)(run, c.row + j);
            const double g = (double)((const REAL *)run->g)[c.row + j];
            factor[j] = q.ignored ? 0 : (REAL)(g * q.all / sum[j]);
            each[j] = q.ignored ? 0 : (REAL)(g * q.each);
        }
        for (int64_t i = 0; i < run->n; i++) {
            const REAL of_class = w ? w[i] : 1;
#pragma omp simd
            for (int64_t j = 0; j < c.count; j++) {
                const REAL v = y[i * run->inner + j] * factor[j] - each[j] * of_class;
                y[i * run->inner + j] = factor[j] == 0 ? 0 : v;
            }
        }
        for (int64_t j = 0; j < c.count; j++) {
            const soft_target q = NAME(soft_target_of)(run, c.row + j);
            const double g = (double)((const REAL *)run->g)[c.row + j];
            if (q.sound) y[q.t * run->inner + j] -= (REAL)(g * q.own);
        }
    }
}

/* y = weight of the target in the mean: w[t], 0 where it is ignored; with the spread share, all of q */
static void NAME(target_weight)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const REAL *w = run->weight;
    for (int64_t r = begin; r < end; r++) {
        const soft_target q = NAME(soft_target_of)(run, r);
        const double own = w && q.sound ? (double)w[q.t] : 1;
        ((REAL *)run->y)[r] = q.ignored ? 0 : (REAL)(run->attr.smoothing > 0 ? q.all : own);
    }
}

/* y = 1 where fewer than k logits stand above x[t]: those before it that are not below it, those after it that are
 * above it. NaN stands above all, and never is among the k. */
static void NAME(top_k)(void *context, int64_t begin, int64_t end) {
    const dpt_class_run *run = context;
    const int64_t n = run->n, inner = run->inner;
    for (int64_t r = begin; r < end; r++) {
        const REAL *x = (const REAL *)run->x + r / inner * inner * n + r % inner;
        const int64_t t = dpt_class_target(run->target, r), most = run->attr.k > 1 ? run->attr.k : 1;
        int64_t above = dpt_class_in_range(t, n) ? 0 : most;
        for (int64_t i = 0; i < n && above < most; i++)
            above += i < t ? !(x[i * inner] < x[t * inner]) : !(x[i * inner] <= x[t * inner]);
        ((REAL *)run->y)[r] = above < most ? 1 : 0;
    }
}

#endif
