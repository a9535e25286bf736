/* row_norm_loops.h: the loops of row_norm_cpu.c for one type: included there once with REAL float and once with double;
 * NAME(x) is x_f32 or x_f64. No include guard, for that reason.
 *
 * A row is `segments` of `length` elements that stand side by side, each at `positions` places `step` apart. With
 * `plane` all elements of a segment belong to one channel (C order), else each to a channel of its own. Sums are made
 * in LANES sums of REAL, flushed to f64 every FLUSH elements, so that their order depends on shapes alone. */

/* total[0] += sum of (a - s) w, total[1] += sum of (a - s) w (b - t); w NULL: 1 */
DPT_INLINE void NAME(line_sums)(const REAL *a, REAL s, const REAL *b, REAL t, const REAL *w, int64_t n, double *total) {
    for (int64_t from = 0; from < n; from += FLUSH) {
        const int64_t end = from + FLUSH < n ? from + FLUSH : n;
        REAL sum[LANES] = {0}, product[LANES] = {0};
        int64_t i = from;
        for (; i + LANES <= end; i += LANES) {
#pragma omp simd
            for (int l = 0; l < LANES; l++) {
                const REAL v = (a[i + l] - s) * (w ? w[i + l] : 1);
                sum[l] += v;
                product[l] += v * (b[i + l] - t);
            }
        }
        for (int l = 0; i < end; i++, l++) {
            const REAL v = (a[i] - s) * (w ? w[i] : 1);
            sum[l] += v;
            product[l] += v * (b[i] - t);
        }
        for (int l = 0; l < LANES; l++) total[0] += (double)sum[l], total[1] += (double)product[l];
    }
}

/* The same by lane over `positions` places `step` apart, for n <= PIECE lanes. */
DPT_INLINE void NAME(panel_of)(const int64_t n, const REAL *a, REAL s, const REAL *b, REAL t, int64_t positions,
                               int64_t step, double *sums, double *products) {
    for (int64_t from = 0; from < positions; from += FLUSH / LANES) {
        const int64_t end = from + FLUSH / LANES < positions ? from + FLUSH / LANES : positions;
        REAL sum[PIECE] = {0}, product[PIECE] = {0};
        for (int64_t p = from; p < end; p++) {
            const REAL *at = a + p * step, *bt = b + p * step;
#pragma omp simd
            for (int64_t l = 0; l < n; l++) {
                const REAL v = at[l] - s;
                sum[l] += v;
                product[l] += v * (bt[l] - t);
            }
        }
        for (int64_t l = 0; l < n; l++) sums[l] += (double)sum[l], products[l] += (double)product[l];
    }
}

DPT_INLINE void NAME(panel_sums)(const REAL *a, REAL s, const REAL *b, REAL t, int64_t positions, int64_t step,
                                 int64_t n, double *sums, double *products) {
    NORM_LANES(n, NAME(panel_of), a, s, b, t, positions, step, sums, products);
}

/* Both sums over a row; w: the weights of its channels, or NULL. */
DPT_INLINE void NAME(row_sums)(const norm_row *row, const REAL *a, REAL s, const REAL *b, REAL t, const REAL *w,
                               double total[2]) {
    total[0] = total[1] = 0;
    if (row->contiguous && (w == NULL || !row->plane)) {
        if (w) /* each inlined by itself */
            NAME(line_sums)(a, s, b, t, w, row->elements, total);
        else
            NAME(line_sums)(a, s, b, t, NULL, row->elements, total);
        return;
    }
    for (int64_t k = 0; k < row->segments; k++) {
        const REAL *from = a + k * row->segment_step, *beside = b + k * row->segment_step;
        if (row->plane) {
            double sum[2] = {0, 0};
            NAME(line_sums)(from, s, beside, t, NULL, row->length, sum);
            total[0] += sum[0] * (w ? (double)w[k] : 1), total[1] += sum[1] * (w ? (double)w[k] : 1);
            continue;
        }
        for (int64_t l = 0; l < row->length; l += PIECE) {
            const int64_t n = row->length - l < PIECE ? row->length - l : PIECE;
            double sums[PIECE] = {0}, products[PIECE] = {0};
            NAME(panel_sums)(from + l, s, beside + l, t, row->positions, row->step, n, sums, products);
            for (int64_t i = 0; i < n; i++) {
                const double weight = w ? (double)w[k * row->length + l + i] : 1;
                total[0] += sums[i] * weight, total[1] += products[i] * weight;
            }
        }
    }
}

/* y = (x - mean) (rstd w) + b by channel; w, b: arrays, or NULL for 1 and 0 */
DPT_INLINE void NAME(apply_vector)(const REAL *x, REAL mean, REAL rstd, const REAL *w, const REAL *b, int64_t n,
                                   REAL *y) {
    if (w && b) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * (rstd * w[i]) + b[i];
    } else if (w) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * (rstd * w[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * rstd + (b ? b[i] : 0);
    }
}

/* The same at `positions` places `step` apart. */
DPT_INLINE void NAME(apply_panel)(const int64_t n, const REAL *x, REAL mean, REAL rstd, const REAL *w, const REAL *b,
                                  int64_t positions, int64_t step, REAL *y) {
    for (int64_t p = 0; p < positions; p++) NAME(apply_vector)(x + p * step, mean, rstd, w, b, n, y + p * step);
}

DPT_INLINE void NAME(apply_plane)(const REAL *x, REAL mean, REAL factor, REAL b, int64_t n, REAL *y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = (x[i] - mean) * factor + b;
}

/* dx = g (rstd w) + (x - mean) slope + add [+ more] */
DPT_INLINE void NAME(grad_vector)(const REAL *g, const REAL *x, const REAL *w, const REAL *more, const norm_slopes *k,
                                  int64_t n, REAL *dx) {
    const REAL rstd = (REAL)k->rstd, mean = (REAL)k->mean, slope = (REAL)k->slope, add = (REAL)k->add;
    if (w && more) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = g[i] * (rstd * w[i]) + ((x[i] - mean) * slope + add) + more[i];
    } else if (w) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = g[i] * (rstd * w[i]) + ((x[i] - mean) * slope + add);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] = g[i] * rstd + ((x[i] - mean) * slope + add) + (more ? more[i] : 0);
    }
}

DPT_INLINE void NAME(grad_panel)(const int64_t n, const REAL *g, const REAL *x, const REAL *w, const norm_slopes *k,
                                 int64_t positions, int64_t step, REAL *dx) {
    const norm_slopes own = *k; /* that dx cannot alias */
    for (int64_t p = 0; p < positions; p++)
        NAME(grad_vector)(g + p * step, x + p * step, w, NULL, &own, n, dx + p * step);
}

DPT_INLINE void NAME(grad_plane)(const REAL *g, const REAL *x, REAL factor, const norm_slopes *k, int64_t n, REAL *dx) {
    const REAL mean = (REAL)k->mean, slope = (REAL)k->slope, add = (REAL)k->add;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) dx[i] = g[i] * factor + ((x[i] - mean) * slope + add);
}

DPT_INLINE void NAME(add_row)(const REAL *a, const REAL *b, int64_t n, REAL *y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

/* Rows [begin, end). */
DPT_HOT_LOOP static void NAME(norm_forward)(void *context, int64_t begin, int64_t end) {
    const norm_run *run = context;
    const norm_row *row = &run->row;
    for (int64_t r = begin; r < end; r++) {
        const int64_t at = norm_row_at(run, r), c = r % run->groups * run->width;
        const REAL *x = (const REAL *)run->x + at, *w = run->weight, *b = run->bias;
        REAL *y = (REAL *)run->y + at;
        w = w ? w + c : NULL;
        b = b ? b + c : NULL;
        if (run->sum) {
            NAME(add_row)(x, (const REAL *)run->more + at, row->elements, (REAL *)run->sum + at);
            x = (const REAL *)run->sum + at;
        }
        double total[2], mean = 0;
        if (run->centre) {
            NAME(row_sums)(row, x, 0, x, 0, NULL, total);
            mean = total[0] / (double)row->elements;
        }
        NAME(row_sums)(row, x, (REAL)mean, x, (REAL)mean, NULL, total);
        const double rstd = 1 / sqrt(total[1] / (double)row->elements + run->eps);
        ((REAL *)run->mean)[r] = (REAL)mean;
        ((REAL *)run->rstd)[r] = (REAL)rstd;
        for (int64_t k = 0; k < row->segments; k++) {
            const int64_t offset = k * row->segment_step, first = k * row->length;
            if (row->plane) {
                const REAL factor = (REAL)(rstd * (w ? (double)w[k] : 1));
                NAME(apply_plane)(x + offset, (REAL)mean, factor, b ? b[k] : 0, row->length, y + offset);
                continue;
            }
            const REAL *w_here = w ? w + first : NULL, *b_here = b ? b + first : NULL;
            if (row->positions == 1)
                NAME(apply_vector)(x + offset, (REAL)mean, (REAL)rstd, w_here, b_here, row->length, y + offset);
            else
                NORM_LANES(row->length, NAME(apply_panel), x + offset, (REAL)mean, (REAL)rstd, w_here, b_here,
                           row->positions, row->step, y + offset);
        }
    }
}

DPT_HOT_LOOP static void NAME(norm_backward)(void *context, int64_t begin, int64_t end) {
    const norm_run *run = context;
    const norm_row *row = &run->row;
    for (int64_t r = begin; r < end; r++) {
        const int64_t at = norm_row_at(run, r);
        const REAL *g = (const REAL *)run->g + at, *x = (const REAL *)run->x + at, *w = run->weight;
        REAL *dx = (REAL *)run->y + at;
        const REAL *more = run->more ? (const REAL *)run->more + at : NULL; /* may be g: dx may stand in its place */
        w = w ? w + r % run->groups * run->width : NULL;
        const REAL mean = ((const REAL *)run->mean)[r], rstd = ((const REAL *)run->rstd)[r];
        double total[2];
        NAME(row_sums)(row, g, 0, x, mean, w, total);
        const norm_slopes slopes = norm_slopes_of(run, (double)mean, (double)rstd, total);
        for (int64_t k = 0; k < row->segments; k++) {
            const int64_t offset = k * row->segment_step, first = k * row->length;
            if (row->plane) {
                const REAL factor = (REAL)((double)rstd * (w ? (double)w[k] : 1));
                NAME(grad_plane)(g + offset, x + offset, factor, &slopes, row->length, dx + offset);
                continue;
            }
            const REAL *w_here = w ? w + first : NULL;
            if (row->positions == 1)
                NAME(grad_vector)(g + offset, x + offset, w_here, more, &slopes, row->length, dx + offset);
            else
                NORM_LANES(row->length, NAME(grad_panel), g + offset, x + offset, w_here, &slopes, row->positions,
                           row->step, dx + offset);
        }
    }
}

/* ---- sums over rows: channels [begin, end), each one's (sum of g xhat, sum of g) in f64 ---- */

/* Rows of channels that stand side by side, a position each. */
DPT_INLINE void NAME(channel_sums)(const norm_run *run, int64_t begin, int64_t end, double *weight, double *bias) {
    for (int64_t r = 0; r < run->samples; r++) {
        const REAL *g = (const REAL *)run->g + r * run->channels, *x = (const REAL *)run->x + r * run->channels;
        for (int64_t c = begin; c < end;) {
            const int64_t group = c / run->width,
                          last = (group + 1) * run->width < end ? (group + 1) * run->width : end;
            const REAL mean = ((const REAL *)run->mean)[r * run->groups + group];
            const REAL rstd = ((const REAL *)run->rstd)[r * run->groups + group];
#pragma omp simd
            for (int64_t i = c; i < last; i++) {
                weight[i] += (double)(g[i] * ((x[i] - mean) * rstd));
                bias[i] += (double)g[i];
            }
            c = last;
        }
    }
}

/* Channels that stand side by side in blocks, at many positions: n <= PIECE of them from channel c on, of one group. */
DPT_INLINE void NAME(piece_sums)(const norm_run *run, int64_t c, int64_t n, double *weight, double *bias) {
    const int64_t lanes = run->lanes, offset = c / lanes * lanes * run->spatial + c % lanes;
    for (int64_t r = 0; r < run->samples; r++) {
        const int64_t at = r * run->channels * run->spatial + offset, row = r * run->groups + c / run->width;
        const REAL mean = ((const REAL *)run->mean)[row];
        double products[PIECE] = {0};
        NAME(panel_sums)
        ((const REAL *)run->g + at, 0, (const REAL *)run->x + at, mean, run->spatial, lanes, n, bias + c, products);
        for (int64_t l = 0; l < n; l++) weight[c + l] += products[l] * (double)((const REAL *)run->rstd)[row];
    }
}

DPT_INLINE void NAME(plane_sums)(const norm_run *run, int64_t c, double *weight, double *bias) {
    for (int64_t r = 0; r < run->samples; r++) {
        const int64_t at = (r * run->channels + c) * run->spatial, row = r * run->groups + c / run->width;
        double total[2] = {0, 0};
        NAME(line_sums)
        ((const REAL *)run->g + at, 0, (const REAL *)run->x + at, ((const REAL *)run->mean)[row], NULL, run->spatial,
         total);
        bias[c] += total[0];
        weight[c] += total[1] * (double)((const REAL *)run->rstd)[row];
    }
}

DPT_HOT_LOOP static void NAME(norm_param_grad)(void *context, int64_t begin, int64_t end) {
    const norm_run *run = context;
    double *weight = run->sums, *bias = run->sums + run->channels;
    for (int64_t c = begin; c < end; c++) weight[c] = bias[c] = 0;
    if (run->spatial == 1) {
        NAME(channel_sums)(run, begin, end, weight, bias);
    } else if (run->lanes == 1) {
        for (int64_t c = begin; c < end; c++) NAME(plane_sums)(run, c, weight, bias);
    } else {
        for (int64_t c = begin, n; c < end; c += n) {
            n = end - c < PIECE ? end - c : PIECE;
            if (n > run->lanes - c % run->lanes) n = run->lanes - c % run->lanes;
            if (n > run->width - c % run->width) n = run->width - c % run->width;
            NAME(piece_sums)(run, c, n, weight, bias);
        }
    }
    for (int64_t c = begin; c < end; c++) {
        ((REAL *)run->y)[c] = (REAL)weight[c];
        ((REAL *)run->bias_out)[c] = (REAL)bias[c];
    }
}
