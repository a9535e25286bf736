/* Order `lanes`: golden values from another program, and by brute force over many small shapes what it promises: every
 * row once, whole batches, each block in one lane and on one rank, lanes that keep step, no rank above its capacity. */
#include "data/lanes.h"

#include <stdlib.h>

#include "base/memory.h"
#include "check.h"
#include "data/sampler.h"
#include "golden/lanes.h"

enum { MOST_ROWS = 400, MOST_BLOCKS = 400 };

static const int worlds[] = {1, 2, 3, 4, 5, 8};

static const struct {
    int files;
    dpt_lanes_file file[3];
    int lanes;
    uint64_t window, seed;
} golden_shapes[] = {{1, {{30, 4}}, 3, 2, 0},
                     {1, {{1, 1}}, 1, 1, 7},
                     {3, {{17, 5}, {0, 3}, {23, 4}}, 4, 3, 1},
                     {1, {{100, 1}}, 64, 16, UINT64_MAX},
                     {1, {{(1ull << 33) + 7, 1ull << 24}}, 64, 4, 5},
                     {2, {{1ull << 40, 1ull << 31}, {1ull << 62, 1ull << 53}}, 12, 16, 3}};

static uint64_t lane_row(const dpt_lanes *lanes, int lane, uint64_t t) {
    uint64_t row;
    dpt_lanes_lane_rows(lanes, lane, t, 1, &row);
    return row;
}

static uint64_t batch_row(const dpt_lanes *lanes, const dpt_lanes_batch *batch, int64_t place) {
    uint64_t row;
    dpt_lanes_rows(lanes, batch, place, 1, &row);
    return row;
}

static int64_t capacity_of(const dpt_lanes_shape *shape, int64_t global_batch, int world) {
    int64_t rows = -1;
    CHECK_OK(dpt_lanes_capacity(shape, global_batch, world, &rows));
    return rows;
}

static dpt_lanes *make(const dpt_lanes_shape *shape, uint64_t epoch) {
    dpt_lanes *lanes = NULL;
    CHECK_OK(dpt_lanes_create(shape, epoch, &lanes));
    return lanes;
}

static void golden(void) {
    const struct lanes_row *before = NULL;
    dpt_lanes *lanes = NULL;
    for (size_t i = 0; i < sizeof lanes_rows / sizeof *lanes_rows; before = &lanes_rows[i++]) {
        const struct lanes_row *g = &lanes_rows[i];
        dpt_lanes_shape shape = {.file = golden_shapes[g->shape].file,
                                 .files = golden_shapes[g->shape].files,
                                 .lanes = golden_shapes[g->shape].lanes,
                                 .window = golden_shapes[g->shape].window,
                                 .seed = golden_shapes[g->shape].seed};
        if (!before || before->shape != g->shape || before->epoch != g->epoch) {
            dpt_lanes_destroy(&lanes);
            lanes = make(&shape, g->epoch);
        }
        if (lanes == NULL) return;
        dpt_lanes_batch batch;
        dpt_lanes_batch_find(lanes, (int64_t)g->global_batch, g->step, &batch);
        uint64_t sample = batch_row(lanes, &batch, (int64_t)g->row);
        check_that(sample == g->sample, __FILE__, __LINE__, "shape %d epoch %llu step %llu row %llu: %llu, not %llu",
                   g->shape, (unsigned long long)g->epoch, (unsigned long long)g->step, (unsigned long long)g->row,
                   (unsigned long long)sample, (unsigned long long)g->sample);
    }
    dpt_lanes_destroy(&lanes);
}

static uint64_t drawn;
static uint64_t draw(uint64_t least, uint64_t most) {
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return least + (drawn >> 33) % (most - least + 1);
}

/* A shape, and of each sample its block; how many rows there are. */
typedef struct small {
    dpt_lanes_shape shape;
    dpt_lanes_file file[4];
    uint64_t rows, blocks;
    int block[MOST_ROWS];
} small;

static void draw_shape(small *s) {
    *s = (small){.shape = {.lanes = (int)draw(1, 9), .window = draw(1, 5), .seed = draw(0, 1000)}};
    s->shape.files = (int)draw(1, 4);
    s->shape.file = s->file;
    for (int f = 0; f < s->shape.files; f++) {
        s->file[f] = (dpt_lanes_file){draw(f == 0, 90), draw(1, 9)};
        for (uint64_t r = 0; r < s->file[f].rows; r++)
            s->block[s->rows + r] = (int)(s->blocks + r / s->file[f].block_rows);
        s->rows += s->file[f].rows;
        s->blocks += (s->file[f].rows + s->file[f].block_rows - 1) / s->file[f].block_rows;
    }
}

/* Lanes tile the samples; a block's rows lie in one of them, within one window. */
static void check_lanes(const small *s, const dpt_lanes *lanes) {
    int lane_of[MOST_BLOCKS], wrong = 0;
    uint8_t seen[MOST_ROWS] = {0};
    memset(lane_of, -1, sizeof lane_of);
    uint64_t all = 0, least = UINT64_MAX, most = 0;
    for (int i = 0; i < s->shape.lanes; i++) {
        uint64_t in_lane = 0, rows[MOST_ROWS];
        dpt_lanes_lane_rows(lanes, i, 0, dpt_lanes_length(lanes, i), rows);
        for (uint64_t t = 0; t < dpt_lanes_length(lanes, i); t++) {
            uint64_t sample = rows[t];
            if (sample >= s->rows) {
                wrong++;
                continue;
            }
            seen[sample]++;
            int *lane = &lane_of[s->block[sample]];
            in_lane += *lane < 0;
            if (*lane < 0) *lane = i;
            wrong += *lane != i;
        }
        all += dpt_lanes_length(lanes, i);
        if (in_lane < least) least = in_lane;
        if (in_lane > most) most = in_lane;
    }
    for (uint64_t r = 0; r < s->rows; r++) wrong += seen[r] != 1;
    CHECK_EQ_I64(wrong, 0);
    CHECK_EQ_I64(all, s->rows);
    CHECK(most - least <= 1);
    CHECK_EQ_I64(dpt_lanes_blocks(&s->shape), s->blocks);
}

/* What each rank takes of each batch of an epoch. */
static void check_ranks(const small *s, const dpt_lanes *lanes, int64_t global_batch, int world) {
    uint8_t seen[MOST_ROWS] = {0};
    static bool touched[8][MOST_BLOCKS];
    memset(touched, 0, sizeof touched);
    int wrong = 0;
    int64_t capacity = capacity_of(&s->shape, global_batch, world);
    CHECK(capacity <= global_batch);
    for (uint64_t step = 0; step < dpt_epoch_steps(s->rows, global_batch); step++) {
        dpt_lanes_batch batch;
        dpt_lanes_batch_find(lanes, global_batch, step, &batch);
        int64_t next = 0;
        for (int rank = 0; rank < world; rank++) {
            int64_t first, count;
            dpt_lanes_share(&batch, rank, world, &first, &count);
            uint64_t rows[MOST_ROWS];
            wrong += first != next || count < 0 || count > capacity;
            dpt_lanes_rows(lanes, &batch, first, count, rows);
            for (int64_t row = 0; row < count; row++) {
                uint64_t sample = rows[row];
                seen[sample]++;
                touched[rank][s->block[sample]] = true;
            }
            next = first + count;
        }
        wrong += next != dpt_epoch_batch_rows(s->rows, global_batch, step);
    }
    uint64_t reads = 0;
    for (int i = 0; i < world * MOST_BLOCKS; i++) reads += touched[i / MOST_BLOCKS][i % MOST_BLOCKS];
    for (uint64_t r = 0; r < s->rows; r++) wrong += seen[r] != 1;
    check_that(wrong == 0, __FILE__, __LINE__, "%d wrong: %llu rows, %d lanes, batch %d, %d ranks, capacity %d", wrong,
               (unsigned long long)s->rows, s->shape.lanes, (int)global_batch, world, (int)capacity);
    uint64_t said = dpt_lanes_reads(&s->shape, world);
    CHECK(reads <= said && said >= s->blocks);
    if (world <= s->shape.lanes) CHECK(reads == s->blocks && said == s->blocks);
}

static void exactly_once(void) {
    static small s;
    drawn = 11;
    for (int n = 0; n < (CHECK_IS_SLOW ? 16 : 400); n++) {
        draw_shape(&s);
        dpt_lanes *lanes = make(&s.shape, (uint64_t)n % 3);
        if (lanes == NULL) return;
        check_lanes(&s, lanes);
        int64_t global_batch = (int64_t)draw(1, s.rows + 5);
        for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) check_ranks(&s, lanes, global_batch, worlds[w]);
        dpt_lanes_destroy(&lanes);
    }
}

/* Blocks one by one, as a selection leaves them, are those of as many files of one block each; and all that is promised
 * of files holds of them. */
static void blocks_one_by_one(void) {
    static small s;
    static uint64_t begin[MOST_BLOCKS + 1];
    static dpt_lanes_file of_one[MOST_BLOCKS];
    drawn = 23;
    for (int n = 0; n < (CHECK_IS_SLOW ? 8 : 150); n++) {
        s = (small){.shape = {.lanes = (int)draw(1, 9), .window = draw(1, 5), .seed = draw(0, 1000), .begin = begin}};
        for (s.blocks = draw(1, 60); s.shape.blocks < s.blocks; s.shape.blocks++) {
            uint64_t rows = draw(1, n % 2 ? 6 : 2), b = s.shape.blocks;
            of_one[b] = (dpt_lanes_file){rows, rows};
            for (uint64_t r = 0; r < rows; r++) s.block[s.rows++] = (int)b;
            begin[b + 1] = s.rows;
        }
        dpt_lanes_shape as_files = s.shape;
        as_files.begin = NULL, as_files.file = of_one, as_files.files = (int)s.blocks;
        dpt_lanes *a = make(&s.shape, (uint64_t)n), *b = make(&as_files, (uint64_t)n);
        if (a == NULL || b == NULL) return;
        check_lanes(&s, a);
        int64_t global_batch = (int64_t)draw(1, s.rows + 5);
        for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
            check_ranks(&s, a, global_batch, worlds[w]);
            CHECK_EQ_I64(capacity_of(&s.shape, global_batch, worlds[w]),
                         capacity_of(&as_files, global_batch, worlds[w]));
        }
        for (int i = 0; i < s.shape.lanes; i++) {
            CHECK_EQ_I64(dpt_lanes_length(a, i), dpt_lanes_length(b, i));
            for (uint64_t t = 0; t < dpt_lanes_length(a, i); t++) CHECK_EQ_I64(lane_row(a, i, t), lane_row(b, i, t));
        }
        dpt_lanes_destroy(&a);
        dpt_lanes_destroy(&b);
    }
}

/* How far lane i of [a, b) may be from its share: half a row of its own, and its part of what its parent is off. */
static double most_off(const dpt_lanes *lanes, int a, int b, int i, double off) {
    if (b - a == 1) return off;
    int middle = (a + b) / 2, from = i < middle ? a : middle, to = i < middle ? middle : b;
    double part = 0, whole = 0;
    for (int k = a; k < b; k++) {
        whole += (double)dpt_lanes_length(lanes, k);
        if (k >= from && k < to) part += (double)dpt_lanes_length(lanes, k);
    }
    return most_off(lanes, from, to, i, 0.5 + (whole > 0 ? off * part / whole : 0));
}

/* Lanes keep step: what each has given by the end of any batch. */
static void in_step(void) {
    static small s;
    drawn = 5;
    double worst = 0;
    for (int n = 0; n < (CHECK_IS_SLOW ? 60 : 300); n++) {
        draw_shape(&s);
        dpt_lanes *lanes = make(&s.shape, (uint64_t)n);
        if (lanes == NULL) return;
        int64_t global_batch = (int64_t)draw(1, 40);
        for (uint64_t step = 0; step < dpt_epoch_steps(s.rows, global_batch); step++) {
            dpt_lanes_batch b;
            dpt_lanes_batch_find(lanes, global_batch, step, &b);
            for (int i = 0; i < s.shape.lanes; i++) {
                double share =
                    (double)dpt_lanes_length(lanes, i) * (double)step * (double)global_batch / (double)s.rows;
                double off = fabs((double)b.first[i] - share);
                if (off > worst) worst = off;
                CHECK(off <= most_off(lanes, 0, s.shape.lanes, i, 0) + 1e-9);
            }
        }
        dpt_lanes_destroy(&lanes);
    }
    check_that(worst > 0.5 && worst < 1.5, __FILE__, __LINE__, "a lane is up to %.3f rows from its share", worst);
}

/* Lanes of one length, as many as divide the batch: the same of each, and ranks get no more than their share. */
static void equal_lanes(void) {
    const int lanes[] = {1, 2, 3, 5, 6, 8, 12, 64};
    for (size_t k = 0; k < sizeof lanes / sizeof *lanes; k++) {
        int n = lanes[k];
        dpt_lanes_file file = {(uint64_t)n * 5 * 7, 7};
        dpt_lanes_shape shape = {.file = &file, .files = 1, .lanes = n, .window = 2, .seed = 9};
        dpt_lanes *l = make(&shape, 4);
        if (l == NULL) return;
        for (uint64_t step = 0; step < 11; step++) { /* 35 n rows in batches of 3 n */
            dpt_lanes_batch b;
            dpt_lanes_batch_find(l, 3 * n, step, &b);
            for (int i = 0; i < n; i++) CHECK_EQ_I64(b.begin[i + 1] - b.begin[i], 3);
        }
        for (int world = 1; world <= n; world++)
            if (n % world == 0) CHECK_EQ_I64(capacity_of(&shape, 3 * n, world), 3 * n / world);
        CHECK_EQ_I64(capacity_of(&shape, 3 * n, 3 * n), 1);
        CHECK_EQ_I64(dpt_lanes_held(&shape, 0, 1), 2 * n);
        CHECK_EQ_I64(dpt_lanes_reads(&shape, 2 * n), 10 * n);
        dpt_lanes_destroy(&l);
    }
}

/* A usual shape: one short block at the end. A rank has little more than its share, whatever the epoch. */
static void capacity_is_tight(void) {
    dpt_lanes_file file = {64 * 16 * 100 - 63, 100};
    dpt_lanes_shape shape = {.file = &file, .files = 1, .lanes = 64, .window = 16};
    CHECK_EQ_I64(capacity_of(&shape, 64, 8), 9);
    CHECK_EQ_I64(capacity_of(&shape, 512, 8), 65);
    CHECK_EQ_I64(capacity_of(&shape, 512, 1), 512);
    CHECK_EQ_I64(dpt_lanes_choose(512, 64 * 16), 64);
    CHECK_EQ_I64(dpt_lanes_choose(100, 1000), 50);
    CHECK_EQ_I64(dpt_lanes_choose(127, 1000), 1);
    CHECK_EQ_I64(dpt_lanes_choose(60, 43), 5);
    CHECK_EQ_I64(dpt_lanes_choose(60, 3), 1);
    CHECK_EQ_I64(dpt_lanes_choose(INT64_MAX, UINT64_MAX), 49);
}

/* Samples stand anywhere in an epoch, and anywhere in their window, equally often over epochs: chi-square. */
static void uniform(void) {
    enum { ROWS = 640, BINS = 32, SAMPLES = 3, EPOCHS = CHECK_IS_SLOW ? 320 : 3000, WINDOW_ROWS = 40 };
    static const uint64_t watched[SAMPLES] = {0, 333, ROWS - 1};
    static int at[SAMPLES][BINS], in_window[SAMPLES][WINDOW_ROWS], in_lane[SAMPLES][4];
    dpt_lanes_file file = {ROWS, 10};
    dpt_lanes_shape shape = {.file = &file, .files = 1, .lanes = 4, .window = 4, .seed = 21};
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        dpt_lanes *l = make(&shape, epoch);
        if (l == NULL) return;
        uint64_t rows[ROWS / 4];
        for (int i = 0; i < 4; i++) {
            dpt_lanes_lane_rows(l, i, 0, ROWS / 4, rows);
            for (uint64_t t = 0; t < ROWS / 4; t++) {
                uint64_t sample = rows[t];
                for (int k = 0; k < SAMPLES; k++) {
                    if (sample != watched[k]) continue;
                    at[k][t * BINS / (ROWS / 4)]++;
                    in_window[k][t % WINDOW_ROWS]++;
                    in_lane[k][i]++;
                }
            }
        }
        dpt_lanes_destroy(&l);
    }
    for (int k = 0; k < SAMPLES; k++) {
        double chi[3] = {0};
        for (int i = 0; i < BINS; i++) chi[0] += pow(at[k][i] - EPOCHS / (double)BINS, 2) / (EPOCHS / (double)BINS);
        for (int i = 0; i < WINDOW_ROWS; i++)
            chi[1] += pow(in_window[k][i] - EPOCHS / (double)WINDOW_ROWS, 2) / (EPOCHS / (double)WINDOW_ROWS);
        for (int i = 0; i < 4; i++) chi[2] += pow(in_lane[k][i] - EPOCHS / 4.0, 2) / (EPOCHS / 4.0);
        check_that(chi[0] > 8 && chi[0] < 72 && chi[1] > 13 && chi[1] < 84 && chi[2] < 22, __FILE__, __LINE__,
                   "sample %d: chi-square %.1f of 31, %.1f of 39, %.1f of 3", (int)watched[k], chi[0], chi[1], chi[2]);
    }
}

/* Windows of one epoch are shuffled differently, and so are the same places of two epochs and two seeds. */
static void differs(void) {
    dpt_lanes_file file = {4096, 16};
    dpt_lanes_shape shape = {.file = &file, .files = 1, .lanes = 2, .window = 8, .seed = 1};
    dpt_lanes *a = make(&shape, 0), *b = make(&shape, 1), *c = make(&shape, 1ull << 32);
    shape.seed = 2;
    dpt_lanes *d = make(&shape, 0);
    int same[5] = {0};
    for (uint64_t t = 0; a && b && c && d && t < 1024; t++) {
        uint64_t x = lane_row(a, 0, t);
        same[0] += x == lane_row(b, 0, t);
        same[1] += x == lane_row(c, 0, t);
        same[2] += x == lane_row(d, 0, t);
        same[3] += x % 16 == lane_row(a, 0, t + 1024) % 16; /* 1 of 16 by chance: 64 */
        same[4] += x % 16 == lane_row(a, 1, t) % 16;
    }
    CHECK(same[0] < 8 && same[1] < 8 && same[2] < 8 && same[3] < 110 && same[4] < 110);
    dpt_lanes_destroy(&a);
    dpt_lanes_destroy(&b);
    dpt_lanes_destroy(&c);
    dpt_lanes_destroy(&d);
}

/* Up to 2^63-1 rows: whole batches anywhere, samples in range and no two alike, all rows given at the end. */
static void large(void) {
    const dpt_lanes_file files[] = {
        {(1ull << 31) + 5, 1 << 20}, {1ull << 40, (1ull << 30) + 1}, {INT64_MAX, 1ull << 52}};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        dpt_lanes_shape shape = {.file = &files[f], .files = 1, .lanes = 64, .window = 16, .seed = f};
        dpt_lanes *l = make(&shape, 77);
        if (l == NULL) return;
        enum { BATCH = 640 };
        uint64_t rows = files[f].rows, steps = dpt_epoch_steps(rows, BATCH), sample[BATCH];
        const uint64_t wanted[] = {0, steps / 3, steps - 2, steps - 1};
        for (int k = 0; k < 4; k++) {
            dpt_lanes_batch b;
            dpt_lanes_batch_find(l, BATCH, wanted[k], &b);
            int64_t count = dpt_epoch_batch_rows(rows, BATCH, wanted[k]);
            CHECK_EQ_I64(b.begin[64], count);
            int wrong = 0;
            for (int64_t i = 0; i < count && i < 200; i++) {
                sample[i] = batch_row(l, &b, i);
                wrong += sample[i] >= rows;
                for (int64_t j = 0; j < i; j++) wrong += sample[j] == sample[i];
            }
            for (int i = 0; i < 64; i++) {
                uint64_t end = b.first[i] + (uint64_t)(b.begin[i + 1] - b.begin[i]);
                wrong += end > dpt_lanes_length(l, i) || (k == 3 && end != dpt_lanes_length(l, i));
                for (int world = 1; world <= 100; world += 33) {
                    int64_t first, n;
                    dpt_lanes_share(&b, world - 1, world, &first, &n);
                    wrong += first + n != count;
                }
            }
            CHECK_EQ_I64(wrong, 0);
        }
        CHECK(capacity_of(&shape, BATCH, 64) <= 12);
        dpt_lanes_destroy(&l);
    }
}

static void refuses(void) {
    dpt_lanes_file file[2] = {{10, 3}, {0, 1}};
    dpt_lanes_shape good = {.file = file, .files = 2, .lanes = 2, .window = 1}, bad = good;
    dpt_lanes *l;
    bad.lanes = 65;
    CHECK_FAILS(dpt_lanes_create(&bad, 0, &l), DPT_ERR_ARG, "65 lanes");
    bad.lanes = 0;
    CHECK_FAILS(dpt_lanes_create(&bad, 0, &l), DPT_ERR_ARG, "0 lanes");
    bad = good, bad.window = 0;
    CHECK_FAILS(dpt_lanes_create(&bad, 0, &l), DPT_ERR_ARG, "a window of 0 blocks");
    file[1] = (dpt_lanes_file){1, 0};
    CHECK_FAILS(dpt_lanes_create(&good, 0, &l), DPT_ERR_ARG, "file 1: blocks of 0 rows");
    file[1] = (dpt_lanes_file){INT64_MAX, 1};
    CHECK_FAILS(dpt_lanes_create(&good, 0, &l), DPT_ERR_ARG, "2^63 rows or more");
    file[0].rows = 0;
    CHECK_FAILS(dpt_lanes_create(&good, 0, &l), DPT_ERR_MEMORY, "out of memory");
    file[1].rows = 0;
    CHECK_FAILS(dpt_lanes_create(&good, 0, &l), DPT_ERR_ARG, "no rows");
    CHECK(l == NULL);
    file[0].rows = 10;
    dpt_lanes_shape chosen = {.begin = (const uint64_t[]){0, 3, 3}, .blocks = 2, .lanes = 1, .window = 1};
    CHECK_FAILS(dpt_lanes_create(&chosen, 0, &l), DPT_ERR_ARG, "block 1: rows 3 to 3");
    chosen.begin = (const uint64_t[]){1, 3, 4};
    CHECK_FAILS(dpt_lanes_create(&chosen, 0, &l), DPT_ERR_ARG, "rows before the first");
    chosen.begin = (const uint64_t[]){0, 3, (uint64_t)1 << 63};
    CHECK_FAILS(dpt_lanes_create(&chosen, 0, &l), DPT_ERR_ARG, "block 1: rows 3 to 9223372036854775808");
    int failures = 0;
    for (int64_t n = 1; n < 20; n++, failures++) {
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_lanes_create(&good, 0, &l);
        dpt_alloc_fail_at(0);
        dpt_lanes_destroy(&l);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
    }
    CHECK_EQ_I64(failures, 4);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "lanes", {"golden", golden}, {"exactly_once", exactly_once},
                      {"blocks_one_by_one", blocks_one_by_one}, {"in_step", in_step}, {"equal_lanes", equal_lanes},
                      {"capacity_is_tight", capacity_is_tight}, {"uniform", uniform}, {"differs", differs},
                      {"large", large}, {"refuses", refuses});
}
