/* moments.c: see moments.h. Each block of part_scan.h has sums of its own; within it the values of a channel go through
 * in runs that fit in the first cache, whose mean and squares are joined with those before (Chan, Golub and LeVeque,
 * "Updating formulae and a pairwise algorithm for computing sample variances", 1979):
 *
 *   d = mean_b - mean_a,   mean = mean_a + d n_b / n,   squares = squares_a + squares_b + d^2 n_a n_b / n
 *
 * Invariant: runs and blocks depend on the dataset and the selection alone, and blocks are joined in their order, on
 * every rank: the sums have the same bits at every number of ranks. */
#include "data/moments.h"

#include <math.h>
#include <string.h>

#include "backend/parallel.h"
#include "base/memory.h"
#include "data/part_scan.h"
#include "data/sampler.h"

enum { RUN = 2048, LANES = 8, MOST_BLOCKS = 1024, MOST_SUMS = 1 << 20 };

typedef struct moment {
    double count, mean, squares, min, max;
} moment;

typedef struct moments {
    const dpt_scan *scan;
    const dpt_field *field;
    int64_t channels, inner; /* a sample is [channels, inner] */
    uint64_t first_block;    /* of this rank */
    moment *sum;             /* [blocks of this rank, channels] */
} moments;

/* In lanes of a fixed number, so that sums do not depend on the machine's vectors. */
DPT_MULTIVERSION static moment of_run(const double *x, int64_t n) {
    double sum[LANES] = {0}, squares[LANES] = {0};
    moment m = {.count = (double)n, .min = x[0], .max = x[0]};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) _Pragma("omp simd") for (int l = 0; l < LANES; l++) sum[l] += x[i + l];
    for (int l = 0; i < n; i++, l++) sum[l] += x[i];
    for (int l = 0; l < LANES; l++) m.mean += sum[l];
    m.mean /= (double)n;
    for (i = 0; i + LANES <= n; i += LANES) _Pragma("omp simd") for (int l = 0; l < LANES; l++) {
            const double d = x[i + l] - m.mean;
            squares[l] += d * d;
        }
    for (int l = 0; i < n; i++, l++) squares[l] += (x[i] - m.mean) * (x[i] - m.mean);
    for (int l = 0; l < LANES; l++) m.squares += squares[l];
    for (i = 0; i < n; i++) {
        m.min = x[i] < m.min ? x[i] : m.min;
        m.max = x[i] > m.max ? x[i] : m.max;
    }
    return m;
}

static void join(moment *a, const moment *b) {
    if (b->count == 0) return;
    if (a->count == 0) {
        *a = *b;
        return;
    }
    const double d = b->mean - a->mean, share = b->count / (a->count + b->count);
    a->mean += d * share;
    a->squares += b->squares + d * d * (a->count * share);
    a->count += b->count;
    a->min = fmin(a->min, b->min);
    a->max = fmax(a->max, b->max);
}

/* A channel's values of all rows, in runs: whole stretches of `inner` values, or parts of one. */
static void add_channel(moment *sum, const double *values, int64_t rows, int64_t stride, int64_t inner) {
    double x[RUN];
    int64_t n = 0;
    for (int64_t r = 0; r < rows; r++, values += stride)
        for (int64_t at = 0; at < inner;) {
            int64_t take = inner - at < RUN - n ? inner - at : RUN - n;
            if (take == 1)
                x[n] = values[at];
            else
                memcpy(x + n, values + at, (size_t)take * sizeof *x);
            at += take;
            n += take;
            if (n < RUN) continue;
            moment full = of_run(x, n);
            join(sum, &full);
            n = 0;
        }
    if (n == 0) return;
    moment rest = of_run(x, n);
    join(sum, &rest);
}

/* Of samples of different lengths what they have, without the padding. */
static dpt_status add_sequences(const moments *m, moment *sum, uint64_t row, int64_t rows, const double *values) {
    const int64_t step = m->field->dim[0] > 0 ? m->field->elements / m->field->dim[0] : 0;
    for (int64_t i = 0; i < rows; i++, values += m->field->elements) {
        int64_t steps;
        uint64_t k = row + (uint64_t)i, sample = m->scan->selection ? dpt_selection_sample(m->scan->selection, k) : k;
        DPT_TRY(dpt_dataset_lengths(m->scan->dataset, m->scan->field, sample, 1, &steps));
        add_channel(sum, values, 1, 0, steps * step);
    }
    return DPT_OK;
}

static dpt_status add(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    const moments *m = user;
    moment *sum = m->sum + (block - m->first_block) * (uint64_t)m->channels;
    if (m->field->sequence) return add_sequences(m, sum, row, rows, values);
    if (m->channels == 1)
        add_channel(sum, values, 1, 0, rows * m->inner);
    else
        for (int64_t c = 0; c < m->channels; c++)
            add_channel(&sum[c], (const double *)values + c * m->inner, rows, m->channels * m->inner, m->inner);
    return DPT_OK;
}

/* This rank's blocks. *sum is the caller's. */
static dpt_status sum_share(const dpt_control *control, const dpt_scan *scan, int64_t channels, moment **sum) {
    const dpt_field *field = dpt_dataset_field(scan->dataset, scan->field);
    DPT_CHECK(channels == 1 || (field->ndim > 0 && channels == field->dim[0]), DPT_ERR_ARG,
              "%s: moments of %lld channels of a sample whose first axis has %lld", field->path, (long long)channels,
              field->ndim > 0 ? (long long)field->dim[0] : 0);
    DPT_CHECK(channels == 1 || !field->sequence, DPT_ERR_ARG,
              "%s: samples of different lengths have no channels: one mean and std for all values", field->path);
    int64_t first, count;
    dpt_share((int64_t)dpt_scan_blocks(scan), control->rank, control->world, &first, &count);
    *sum = dpt_alloc_zero((size_t)(count * channels), sizeof **sum);
    DPT_CHECK_ALLOC(*sum);
    moments m = {scan, field, channels, field->elements / channels, (uint64_t)first, *sum};
    return dpt_scan_share(scan, control->rank, control->world, add, &m);
}

/* All blocks of all ranks, joined in their order; total [channels] is all 0 before. */
static dpt_status join_ranks(const dpt_control *control, const dpt_scan *scan, int64_t channels, const moment *mine,
                             moment *total) {
    const int64_t blocks = (int64_t)dpt_scan_blocks(scan);
    int64_t first, count, most = blocks / control->world + 1;
    dpt_status status = DPT_OK;
    moment *of_rank = dpt_alloc((size_t)(most * channels) * sizeof *of_rank);
    DPT_TRY_GOTO(dpt_control_agree(control, of_rank ? DPT_OK : DPT_ERR_MEMORY), fail);
    for (int rank = 0; rank < control->world; rank++) {
        dpt_share(blocks, rank, control->world, &first, &count);
        if (count == 0) continue;
        const size_t bytes = (size_t)(count * channels) * sizeof *of_rank;
        if (rank == control->rank) memcpy(of_rank, mine, bytes);
        DPT_TRY_GOTO(dpt_control_broadcast(control, of_rank, bytes, rank), fail);
        for (int64_t i = 0; i < count * channels; i++) join(&total[i % channels], &of_rank[i]);
    }
fail:
    dpt_free(of_rank);
    return status;
}

static dpt_status finish(const char *path, const moment *total, int64_t channels, double *mean, double *std) {
    for (int64_t c = 0; c < channels; c++) {
        DPT_CHECK(total[c].count > 0, DPT_ERR_DATA, "%s: no value to find a mean of", path);
        mean[c] = total[c].mean;
        std[c] = sqrt(total[c].squares / total[c].count);
        DPT_CHECK(isfinite(mean[c]) && isfinite(std[c]), DPT_ERR_DATA,
                  "%s: channel %lld: values from %g to %g are too large for a standard deviation", path, (long long)c,
                  total[c].min, total[c].max);
        if (total[c].min == total[c].max) mean[c] = total[c].min;
        if (total[c].min == total[c].max || std[c] == 0) std[c] = 1;
    }
    return DPT_OK;
}

dpt_status dpt_moments_find(const dpt_control *control, const dpt_dataset *dataset, int field,
                            const dpt_normalise *normalise, const dpt_selection *selection, int64_t channels,
                            double *mean, double *std) {
    dpt_normalise before = normalise ? *normalise : (dpt_normalise){0};
    before.channels = 0;
    before.mean = before.std = NULL;
    const int64_t most = MOST_SUMS / (channels > 0 ? channels : 1);
    const dpt_scan scan = {.dataset = dataset,
                           .field = field,
                           .dtype = DPT_F64,
                           .normalise = &before,
                           .selection = selection,
                           .most_blocks = most < 1             ? 1
                                          : most < MOST_BLOCKS ? (uint64_t)most
                                                               : MOST_BLOCKS};
    moment *mine = NULL, *total = NULL;
    dpt_status status = sum_share(control, &scan, channels, &mine);
    if (status == DPT_OK && (total = dpt_alloc_zero((size_t)channels, sizeof *total)) == NULL) status = DPT_ERR_MEMORY;
    DPT_TRY_GOTO(dpt_control_agree(control, status), fail);
    DPT_TRY_GOTO(join_ranks(control, &scan, channels, mine, total), fail);
    status = finish(dpt_dataset_field(dataset, field)->path, total, channels, mean, std);
fail:
    dpt_free(mine);
    dpt_free(total);
    return status;
}
