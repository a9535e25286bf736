/* Samples of the caller's: from memory and from a function, the same on all ranks or each rank's own, through loader
 * and batches: exactly once for every order, thread count and restart; what goes wrong on one rank alone ends all. */
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "backend/backend.h"
#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset_source.h"
#include "data/loader.h"
#include "data/moments.h"
#include "data/rank_order.h"
#include "data/sampler.h"
#include "data_files.h"

enum { ROWS = 97, WIDTH = 3, CLASSES = 7 };

static dpt_context *ctx;
static float xs[ROWS * WIDTH];
static int32_t ys[ROWS];

static float value_at(uint64_t sample, int64_t e) { return (float)(sample * 5 + (uint64_t)e); }

static void start(void) {
    CHECK_OK(check_context(MPI_COMM_WORLD, 1, &ctx));
    for (uint64_t i = 0; i < ROWS; i++) {
        for (int e = 0; e < WIDTH; e++) xs[i * WIDTH + (uint64_t)e] = value_at(i, e);
        ys[i] = (int32_t)(i % CLASSES);
    }
}

static void stop(void) { dpt_context_destroy(&ctx); }

/* What the function is asked, and when it fails. */
typedef struct asked {
    uint64_t first;    /* this rank's first sample */
    uint64_t fails_at; /* row */
    int fails_on;      /* rank; -1: none */
    dpt_status status;
    const char *reason;
    bool naps; /* so that threads meet */
    atomic_int inside, most_inside;
} asked;

static dpt_status answer(void *user, int field, uint64_t row, uint64_t count, void *out) {
    asked *a = user;
    int inside = atomic_fetch_add(&a->inside, 1) + 1;
    if (inside > atomic_load(&a->most_inside)) atomic_store(&a->most_inside, inside);
    if (a->naps) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    dpt_status status = DPT_OK;
    for (uint64_t i = row; i < row + count; i++) {
        if (i == a->fails_at && a->fails_on == check_rank()) {
            status = a->reason ? dpt_source_fail(a->status, a->reason) : a->status;
            break;
        }
        uint64_t sample = a->first + i;
        if (field == 1) ((int32_t *)out)[i - row] = (int32_t)(sample % CLASSES);
        for (int e = 0; field == 0 && e < WIDTH; e++)
            ((float *)out)[(i - row) * WIDTH + (uint64_t)e] = value_at(sample, e);
    }
    atomic_fetch_sub(&a->inside, 1);
    return status;
}

static const dpt_source_field in_memory[2] = {{"x", DPT_F32, 1, {WIDTH}, xs, 0}, {"y", DPT_I32, 0, {0}, ys, CLASSES}},
                              on_demand[2] = {{"x", DPT_F32, 1, {WIDTH}, NULL, 0},
                                              {"y", DPT_I32, 0, {0}, NULL, CLASSES}};

static dpt_source source_of(const dpt_source_field *fields, asked *user) {
    dpt_source s;
    dpt_source_init(&s);
    s.fields = fields, s.field_count = 2, s.rows = ROWS, s.read = answer, s.user = user;
    return s;
}

static uint64_t own_rows(int rank) { return rank == 1 ? 0 : 35 + 7 * (uint64_t)rank; }

static uint64_t own_first(int rank) {
    uint64_t first = 0;
    for (int r = 0; r < rank; r++) first += own_rows(r);
    return first;
}

static dpt_batches_options options(void) {
    dpt_batches_options o;
    dpt_batches_options_init(&o);
    o.batch = 10, o.seed = 3, o.epochs = 2;
    return o;
}

static int wrong_values(const dpt_batch *b) {
    const float *x = b->array[0].data;
    const int32_t *y = b->array[1].data;
    int wrong = b->arrays != 2 || b->array[0].rows != b->rows;
    for (int64_t r = 0; r < b->rows; r++) {
        wrong += y[r] != (int32_t)(b->sample[r] % CLASSES);
        for (int e = 0; e < WIDTH; e++) wrong += x[r * WIDTH + e] != value_at(b->sample[r], e);
    }
    return wrong;
}

/* All batches of all epochs: counts of each sample over ranks, batches of the right size. */
static void check_epochs(const dpt_dataset *ds, const dpt_batches_options *o, uint64_t rows) {
    dpt_batches *batches;
    const dpt_batch *b;
    int64_t seen[2 * ROWS] = {0}, count = 0;
    int wrong = 0;
    if (!CHECK_OK(dpt_batches_create(ctx, ds, o, &batches))) return;
    CHECK_EQ_I64(dpt_batches_steps(batches), (rows + 9) / 10);
    while (CHECK_OK(dpt_batches_next(batches, &b)) && b) {
        int64_t sum = b->rows;
        wrong += wrong_values(b) + (b->rows > dpt_batches_max_rows(batches));
        for (int64_t r = 0; r < b->rows; r++) seen[b->epoch * rows + b->sample[r]]++;
        CHECK_OK(dpt_control_sum_i64(&ctx->control, &sum, 1));
        wrong += sum != b->global_rows || sum != dpt_epoch_batch_rows(rows, o->batch, b->step);
        count++;
    }
    CHECK_EQ_I64(count, 2 * dpt_batches_steps(batches) - o->first_step);
    CHECK_OK(dpt_control_sum_i64(&ctx->control, seen, (int)(2 * rows)));
    for (uint64_t i = 0; i < 2 * rows; i++) wrong += i < rows && o->first_step > 0 ? seen[i] > 1 : seen[i] != 1;
    CHECK_EQ_I64(wrong, 0);
    CHECK_OK(dpt_batches_next(batches, &b));
    CHECK(b == NULL);
    dpt_batches_destroy(&batches);
    CHECK(batches == NULL);
}

static void check_whole(const dpt_dataset *ds, uint64_t rows) {
    for (int threads = 0; threads < 4; threads++) {
        dpt_batches_options o = options();
        o.threads = threads, o.shuffle = threads != 1, o.ahead = 1 + threads;
        check_epochs(ds, &o, rows);
        o.first_step = 3;
        check_epochs(ds, &o, rows);
    }
}

static void same_rows(void) {
    asked a = {.fails_on = -1};
    for (int i = 0; i < 2; i++) {
        dpt_source s = source_of(i == 0 ? in_memory : on_demand, &a);
        dpt_dataset *ds;
        if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) continue;
        CHECK_EQ_I64(dpt_dataset_rows(ds), ROWS);
        check_whole(ds, ROWS);
        dpt_dataset_close(&ds);
    }
}

/* The order is that of a file: sample by sample at every rank count. */
static void order_of_files(void) {
    asked a = {.fails_on = -1};
    dpt_source s = source_of(on_demand, &a);
    dpt_dataset *ds;
    if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) return;
    dpt_order order = dpt_order_create(ROWS, 3);
    dpt_batches_options o = options();
    dpt_batches *batches;
    const dpt_batch *b;
    int wrong = 0;
    if (CHECK_OK(dpt_batches_create(ctx, ds, &o, &batches)))
        while (CHECK_OK(dpt_batches_next(batches, &b)) && b)
            for (int64_t r = 0; r < b->rows; r++)
                wrong += b->sample[r] != dpt_order_exact(&order, b->epoch, b->step * 10 + (uint64_t)(b->first_row + r));
    CHECK_EQ_I64(wrong, 0);
    dpt_batches_destroy(&batches);
    dpt_dataset_close(&ds);
}

static dpt_status open_own(const dpt_source_field *fields, asked *a, dpt_dataset **ds) {
    *a = (asked){.first = own_first(check_rank()), .fails_on = -1};
    dpt_source s = source_of(fields, a);
    s.own_rows = 1, s.rows = own_rows(check_rank());
    return dpt_dataset_create(ctx, &s, ds);
}

static void each_its_own(void) {
    uint64_t all = own_first(check_world());
    for (int i = 0; i < 2; i++) {
        asked a;
        dpt_dataset *ds;
        dpt_source_field fields[2] = {on_demand[0], on_demand[1]};
        int32_t labels[ROWS];
        for (uint64_t k = 0; k < ROWS; k++) labels[k] = (int32_t)((own_first(check_rank()) + k) % CLASSES);
        if (i == 0) fields[0].values = xs + own_first(check_rank()) * WIDTH, fields[1].values = labels;
        if (!CHECK_OK(open_own(fields, &a, &ds))) continue;
        CHECK_EQ_I64(dpt_dataset_rows(ds), all);
        check_whole(ds, all);
        uint64_t row;
        char name[40];
        snprintf(name, sizeof name, "memory of rank %d", check_world() - 1);
        if (own_rows(check_world() - 1) > 0) CHECK_EQ_TEXT(dpt_dataset_locate(ds, all - 1, &row), name);
        dpt_dataset_close(&ds);
    }
}

/* What only one rank can give is not asked of others. */
static void not_held(void) {
    asked a;
    dpt_dataset *ds;
    if (!CHECK_OK(open_own(on_demand, &a, &ds))) return;
    float x[WIDTH];
    uint64_t all = dpt_dataset_rows(ds), mine = own_first(check_rank());
    for (uint64_t k = 0; k < all; k++) {
        bool held = k >= mine && k < mine + own_rows(check_rank());
        if (held)
            CHECK(dpt_dataset_read(ds, 0, k, 1, x) == DPT_OK && x[0] == value_at(k, 0));
        else
            CHECK_FAILS(dpt_dataset_read(ds, 0, k, 1, x), DPT_ERR_ARG, "and no others");
    }
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 10, o.world = check_world() + 1;
    dpt_loader *loader;
    CHECK_FAILS(dpt_loader_create(ds, &o, &loader), DPT_ERR_ARG, "ranks load what");
    o.world = check_world(), o.mixup = 1;
    CHECK_FAILS(dpt_loader_create(ds, &o, &loader), DPT_ERR_UNSUPPORTED, "nor mixup");
    dpt_dataset_close(&ds);
}

/* Order `own` for many rank counts and shapes: whole, in bounds, uneven, empty ranks. */
static void order_own(void) {
    for (int world = 1; world < 12; world += 2)
        for (uint64_t shape = 0; shape < 6; shape++) {
            uint64_t first[13] = {0};
            for (int r = 0; r < world; r++)
                first[r + 1] = first[r] + (shape == 0 ? 8 : ((uint64_t)r * 37 + shape * 11) % (1 + shape * 29));
            if (first[world] == 0) continue;
            uint8_t seen[2000] = {0};
            int64_t most = 0, bound = 0, wrong = 0, sum[2000] = {0};
            for (int rank = 0; rank < world; rank++) {
                dpt_loader_options o = {
                    .global_batch = 13, .rank = rank, .world = world, .shuffle = true, .seed = shape};
                dpt_rank_order *order;
                if (!CHECK_OK(dpt_rank_order_of(first, world, &o, &order))) return;
                bound = dpt_rank_order_capacity(order);
                uint64_t begin, next = 0, number = (uint64_t)rank, held = first[rank + 1] - first[rank];
                dpt_order own = {0};
                if (held > 0) own = dpt_order_keyed(held, dpt_hash(&number, 8, dpt_hash("own", 3, shape)));
                for (uint64_t step = 0; step * 13 < first[world]; step++) {
                    int64_t row, rows;
                    dpt_rank_order_batch(order, step, &row, &rows, &begin);
                    wrong += begin != next || row != sum[step];
                    next += (uint64_t)rows, sum[step] += rows;
                    most = rows > most ? rows : most;
                    for (uint64_t j = begin; j < next; j++) {
                        uint64_t sample = dpt_rank_order_sample(order, 1, j);
                        wrong += sample < first[rank] || sample >= first[rank + 1] || seen[sample]++ > 0;
                        wrong += sample != first[rank] + dpt_order_exact(&own, 1, j);
                    }
                }
                wrong += next != held;
                dpt_rank_order_destroy(&order);
            }
            for (uint64_t step = 0; step * 13 < first[world]; step++)
                wrong += sum[step] != dpt_epoch_batch_rows(first[world], 13, step);
            CHECK_EQ_I64(wrong, 0);
            CHECK(most <= bound && bound <= 13);
            if (shape == 0 && world > 1) CHECK(bound <= 13 / world + 3);
        }
}

/* The function fails on one rank alone, in the middle of an epoch: all ranks hear of it at the same step. */
static void fails_alone(void) {
    const int last = check_world() - 1;
    const uint64_t fails_at = 20 * (uint64_t)check_world() - 9; /* of the last rank's rows of step 1 */
    const struct {
        dpt_status status;
        const char *reason;
        dpt_status code;
        const char *text;
    } bad[] = {{DPT_ERR_IO, "the pipe to the solver broke", DPT_ERR_IO, "the pipe to the solver broke"},
               {DPT_ERR_MEMORY, NULL, DPT_ERR_MEMORY, "the function failed: out of memory"},
               {(dpt_status)57, NULL, DPT_ERR_DATA, "the function returned 57, which is no dpt_status"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int threads = 0; threads < 3; threads += 2) {
            asked a = {.fails_on = last, .fails_at = fails_at, .status = bad[i].status, .reason = bad[i].reason};
            dpt_source s = source_of(on_demand, &a);
            dpt_dataset *ds;
            if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) return;
            dpt_batches_options o = options();
            o.shuffle = 0, o.threads = threads, o.batch = 10 * check_world();
            dpt_batches *batches;
            const dpt_batch *b;
            uint64_t step = 0;
            if (!CHECK_OK(dpt_batches_create(ctx, ds, &o, &batches))) return;
            while (dpt_batches_next(batches, &b) == DPT_OK && b) step++;
            CHECK_EQ_I64(step, 1);
            for (int again = 0; again < 2; again++) {
                CHECK_FAILS(dpt_batches_next(batches, &b), bad[i].code, bad[i].text);
                CHECK(b == NULL && strstr(dpt_last_error(), "memory: x: rows ") != NULL);
            }
            dpt_batches_destroy(&batches);
            dpt_dataset_close(&ds);
        }
}

static void one_at_a_time(void) {
    for (int serial = 0; serial < 2; serial++) {
        asked a = {.fails_on = -1, .naps = true};
        dpt_source s = source_of(on_demand, &a);
        s.serial = serial;
        dpt_dataset *ds;
        if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) return;
        dpt_batches_options o = options();
        o.threads = 4, o.ahead = 8, o.shuffle = 0;
        check_epochs(ds, &o, ROWS);
        int most = atomic_load(&a.most_inside);
        CHECK(serial ? most == 1 : most > 1);
        dpt_dataset_close(&ds);
    }
}

static void bad_values(void) {
    float x[ROWS * WIDTH];
    int32_t y[ROWS];
    memcpy(x, xs, sizeof x);
    memcpy(y, ys, sizeof y);
    x[50 * WIDTH + 1] = NAN;
    y[60] = CLASSES;
    dpt_source_field fields[2] = {{"x", DPT_F32, 1, {WIDTH}, x, 0}, {"y", DPT_I32, 0, {0}, y, CLASSES}};
    for (int i = 0; i < 2; i++) {
        dpt_source s = source_of(fields, NULL);
        s.name = "the solver's state";
        dpt_dataset *ds;
        if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) return;
        dpt_batches_options o = options();
        o.shuffle = 0;
        dpt_batches *batches;
        const dpt_batch *b;
        dpt_status status;
        if (!CHECK_OK(dpt_batches_create(ctx, ds, &o, &batches))) return;
        while ((status = dpt_batches_next(batches, &b)) == DPT_OK && b) {
        }
        CHECK_FAILS(
            status, DPT_ERR_DATA,
            i == 0 ? "the solver's state: x: sample 50 (row 50 of the file), element 1: the value "
                   : "the solver's state: y: sample 60 (row 60 of the file), element 0: label 7 is outside [0, 7)");
        dpt_batches_destroy(&batches);
        dpt_dataset_close(&ds);
        x[50 * WIDTH + 1] = 0;
    }
}

static void refuse(const dpt_source *s, dpt_status code, const char *text) {
    dpt_dataset *ds = (dpt_dataset *)ctx;
    CHECK_FAILS(dpt_dataset_create(ctx, s, &ds), code, text);
    CHECK(ds == NULL);
}

/* On one rank alone; on one rank of one the others cannot differ. */
static void ranks_differ(void) {
    if (check_world() == 1) return;
    bool odd = check_rank() == 1;
    dpt_source_field fields[2] = {in_memory[0], in_memory[1]};
    dpt_source s = source_of(fields, NULL);
    s.rows = odd ? ROWS - 1 : ROWS;
    refuse(&s, DPT_ERR_CONFIG, "its number of rows differs between ranks");
    s.rows = ROWS, s.own_rows = odd;
    refuse(&s, DPT_ERR_CONFIG, "a name, type or shape of its fields, or own_rows differs");
    s.own_rows = 0, fields[1].dim[0] = 0, fields[0].name = odd ? "z" : "x";
    refuse(&s, DPT_ERR_CONFIG, "a name, type or shape of its fields");
    fields[0].name = "x", s.field_count = odd ? 0 : 2;
    refuse(&s, DPT_ERR_ARG, "rank 1: a source of no fields");
    float x[ROWS * WIDTH];
    memcpy(x, xs, sizeof x);
    x[96 * WIDTH] += odd;
    s.field_count = 2, fields[0].values = x;
    refuse(&s, DPT_ERR_CONFIG, "what its values are differs");
    dpt_source good = source_of(in_memory, NULL);
    dpt_dataset *ds;
    dpt_batches *batches = (dpt_batches *)ctx;
    if (!CHECK_OK(dpt_dataset_create(ctx, &good, &ds))) return;
    dpt_batches_options o = options();
    o.seed = odd;
    CHECK_FAILS(dpt_batches_create(ctx, ds, &o, &batches), DPT_ERR_CONFIG, "the options of batches differs");
    o = options(), o.threads = odd ? -1 : 1;
    CHECK_FAILS(dpt_batches_create(ctx, ds, &o, &batches), DPT_ERR_ARG, "rank 1: -1 loader threads");
    o = options(), o.struct_size -= odd;
    CHECK_FAILS(dpt_batches_create(ctx, ds, &o, &batches), DPT_ERR_ARG, "dpt_batches_options_init");
    CHECK(batches == NULL);
    dpt_dataset_close(&ds);
}

static void refused(void) {
    dpt_source_field f[2] = {in_memory[0], in_memory[1]};
    dpt_source s = source_of(f, NULL);
    s.struct_size = 0;
    refuse(&s, DPT_ERR_ARG, "dpt_source_init");
    s = source_of(f, NULL), s.rows = 0;
    refuse(&s, DPT_ERR_ARG, "memory: 0 samples");
    s.own_rows = 1;
    refuse(&s, DPT_ERR_ARG, "memory: 0 samples");
    s = source_of(f, NULL), s.rows = 1ull << 62;
    refuse(&s, DPT_ERR_ARG, "rows are more than 2^63 bytes");
    s = source_of(f, NULL), s.read = NULL, f[1].values = NULL;
    refuse(&s, DPT_ERR_ARG, "\"y\" has neither values nor a function");
    f[1] = in_memory[1], f[1].name = "x";
    refuse(&s, DPT_ERR_ARG, "two fields of the source are named \"x\"");
    f[1].name = "";
    refuse(&s, DPT_ERR_ARG, "field 1 of the source has no name");
    f[1] = in_memory[1], f[1].dtype = DPT_BF16;
    refuse(&s, DPT_ERR_UNSUPPORTED, "values of bf16");
    f[1].dtype = (dpt_dtype)99;
    refuse(&s, DPT_ERR_ARG, "an unknown dtype, 99");
    f[1] = in_memory[1], f[0].dim[0] = 0;
    refuse(&s, DPT_ERR_ARG, "\"x\": axis 0 of a sample has size 0");
    f[0].ndim = 9;
    refuse(&s, DPT_ERR_ARG, "samples of 9 dimensions");
}

/* Lanes, mixup and moments see such a dataset as any other. */
static void all_else(void) {
    asked a = {.fails_on = -1};
    dpt_source s = source_of(on_demand, &a);
    dpt_dataset *ds;
    if (!CHECK_OK(dpt_dataset_create(ctx, &s, &ds))) return;
    double mean[3], std[3], wanted = 0;
    for (uint64_t i = 0; i < ROWS; i++) wanted += (double)value_at(i, 1) / ROWS;
    CHECK_OK(dpt_moments_find(&ctx->control, ds, 0, NULL, NULL, WIDTH, mean, std));
    CHECK_NEAR(mean[1], wanted, 1e-12);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 16, o.shuffle = true, o.window = 2, o.epochs = 1, o.mixup = 0.5, o.threads = 2;
    dpt_loader *loader;
    uint8_t seen[ROWS] = {0};
    int wrong = 0;
    if (CHECK_OK(dpt_loader_create(ds, &o, &loader)))
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader))
            for (int64_t r = 0; r < b->rows; r++) seen[b->sample[r]]++;
    for (int i = 0; i < ROWS; i++) wrong += seen[i] != 1;
    CHECK_EQ_I64(wrong, 0);
    dpt_loader_destroy(&loader);
    dpt_dataset_close(&ds);
}

static void out_of_memory(void) {
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        dpt_source s = source_of(in_memory, NULL);
        dpt_batches_options o = options();
        dpt_dataset *ds;
        dpt_batches *batches = NULL;
        dpt_alloc_fail_at(check_rank() == check_world() - 1 ? n : 0);
        dpt_status status = dpt_dataset_create(ctx, &s, &ds);
        if (status == DPT_OK) status = dpt_batches_create(ctx, ds, &o, &batches);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || (status == DPT_ERR_MEMORY && batches == NULL));
        CHECK_OK(dpt_control_same(&ctx->control, "the outcome", (uint64_t)status));
        dpt_batches_destroy(&batches);
        dpt_dataset_close(&ds);
        if (status == DPT_OK) break;
        failures++;
    }
    CHECK(failures > 20 && failures < 199);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "source", {"start", start}, {"same_rows", same_rows},
                      {"order_of_files", order_of_files}, {"each_its_own", each_its_own}, {"not_held", not_held},
                      {"order_own", order_own}, {"fails_alone", fails_alone}, {"one_at_a_time", one_at_a_time},
                      {"bad_values", bad_values}, {"ranks_differ", ranks_differ}, {"refused", refused},
                      {"all_else", all_else}, {"out_of_memory", out_of_memory}, {"stop", stop});
}
