/* Parts of a dataset through the loader: in every order, at any number of ranks, with any tail, all samples or a
 * selection of them: the same global batches, each sample as often as it should come, and a ledger that says so, over a
 * restart in the middle of an epoch too. */
#include "data/loader.h"

#include <stdlib.h>

#include "base/memory.h"
#include "data/sampler.h"
#include "data/split.h"
#include "data_files.h"

enum { ROWS = 520, FIRST_ROWS = 307, VALUES = 4096, EPOCHS = 2 };

static const int worlds[] = {1, 8, 5, 3, 2, 4}; /* the first two where each takes long */
static const int64_t batches[] = {24, 13, 600}; /* a tail, none with 520 rows, a part of one */

static dpt_control control;
static dpt_dataset *data; /* x (u8): each row holds its sample's number mod 251 */

static void write_file(const char *name, uint64_t first, uint64_t rows) {
    uint8_t *x = malloc(rows * VALUES);
    for (uint64_t r = 0; r < rows; r++) memset(x + r * VALUES, (int)((first + r) % 251), VALUES);
    hid_t file = file_create(name);
    hsize_t chunk[] = {16, VALUES}, dim[] = {rows, VALUES}; /* of 64 KiB: blocks */
    hid_t p = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dim, NULL);
    H5Pset_chunk(p, 2, chunk);
    hid_t set = H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    CHECK(H5Dwrite(set, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, x) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(p);
    H5Fclose(file);
    free(x);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    write_file("a.h5", 0, FIRST_ROWS);
    write_file("b.h5", FIRST_ROWS, ROWS - FIRST_ROWS);
    const char *files[] = {file_path("a.h5"), file_path("b.h5")};
    const dpt_field_spec field = {.name = "x", .path = "x", .dtype = DPT_U8, .ndim = DPT_ANY_NDIM};
    CHECK_OK(dpt_dataset_open(&control, files, 2, &field, 1, &data));
}

static void stop(void) {
    dpt_dataset_close(&data);
    check_nothing_open();
    dpt_control_close(&control);
}

typedef enum order { FILES, EXACT, LANES, WEIGHTED, BALANCED, BUCKETS, ORDERS } order;

/* Numbers of the part's rows for orders by a table; a few rows weigh much. */
static dpt_draws *make_draws(order o, uint64_t rows, int64_t global_batch) {
    static double weight[ROWS];
    static int64_t label[ROWS];
    static uint64_t length[ROWS];
    dpt_draws *draws = NULL;
    for (uint64_t i = 0; i < rows; i++) {
        weight[i] = i % 10 == 0 ? 20 : 1;
        label[i] = i % 7 == 0;
        length[i] = i * 37 % 100;
    }
    if (o == WEIGHTED) CHECK_OK(dpt_draws_weighted(weight, rows, 5, &draws));
    if (o == BALANCED) CHECK_OK(dpt_draws_balanced(label, rows, 2, 5, &draws));
    if (o == BUCKETS) CHECK_OK(dpt_draws_buckets(length, rows, global_batch, 4, 5, &draws));
    return draws;
}

typedef struct seen {
    uint64_t sample[EPOCHS][ROWS]; /* at each position of an epoch */
    int wrong;
    dpt_ledger ledger[EPOCHS];
} seen;

/* All ranks' batches from a step of the first epoch on, until before another, or to the end. */
static void deliver(dpt_loader_options o, uint64_t from, uint64_t to, seen *s) {
    for (o.rank = 0; o.rank < o.world; o.rank++) {
        dpt_loader *loader;
        const dpt_batch *b;
        o.first_step = from;
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
        while (CHECK_OK(dpt_loader_next(loader, &b)) && b && (b->epoch == 0 ? b->step : UINT64_MAX - 1) < to) {
            uint64_t at = b->step * (uint64_t)o.global_batch + (uint64_t)b->first_row;
            const uint8_t *x = b->array[0].data;
            for (int64_t r = 0; r < b->rows; r++) {
                s->sample[b->epoch][at + (uint64_t)r] = b->sample[r];
                s->wrong += x[r * VALUES] != b->sample[r] % 251 || x[r * VALUES + VALUES - 1] != b->sample[r] % 251;
            }
            dpt_ledger_add(&s->ledger[b->epoch], b->epoch, b->sample, b->rows);
            dpt_loader_release(loader);
        }
        dpt_loader_destroy(&loader);
    }
}

/* What all ranks' shares of the expected ledger are together. */
static dpt_ledger expected(dpt_loader_options o, uint64_t epoch) {
    dpt_ledger all = {0};
    for (o.rank = 0; o.rank < o.world; o.rank++) {
        dpt_loader *loader;
        dpt_ledger share = {0};
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) break;
        CHECK_OK(dpt_loader_expected(loader, epoch, &share));
        all.count += share.count;
        all.sum += share.sum;
        dpt_loader_destroy(&loader);
    }
    return all;
}

/* How often each sample came: once, those of the part and no others; or, where draws repeat them, none that is not. */
static void check_samples(const dpt_selection *part, const seen *s, uint64_t rows, order kind) {
    for (int e = 0; e < EPOCHS; e++) {
        int times[ROWS] = {0}, wrong = 0;
        for (uint64_t i = 0; i < rows; i++) times[s->sample[e][i]]++;
        for (uint64_t i = 0; i < ROWS; i++) {
            bool holds = part == NULL || dpt_selection_holds(part, i);
            if (kind == WEIGHTED || kind == BALANCED)
                wrong += !holds && times[i] > 0;
            else
                wrong += times[i] != (int)holds;
        }
        CHECK_EQ_I64(wrong, 0);
    }
}

static void check_order(const dpt_selection *part, order kind, int64_t global_batch) {
    static seen first, s;
    uint64_t rows = part ? dpt_selection_rows(part) : ROWS, steps = dpt_epoch_steps(rows, global_batch);
    dpt_draws *draws = make_draws(kind, rows, global_batch);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = global_batch, o.shuffle = kind != FILES, o.window = kind == LANES ? 2 : 0, o.seed = 77;
    o.selection = part, o.draws = draws, o.epochs = EPOCHS, o.threads = 0, o.slots = 1;
    for (size_t w = 0; w < (CHECK_IS_SLOW ? 2 : sizeof worlds / sizeof *worlds); w++) {
        memset(&s, 0, sizeof s);
        o.world = worlds[w];
        deliver(o, 0, UINT64_MAX, &s);
        CHECK_EQ_I64(s.wrong, 0);
        if (w == 0) first = s;
        CHECK(memcmp(first.sample, s.sample, sizeof s.sample) == 0);
        for (uint64_t e = 0; e < EPOCHS; e++) {
            dpt_ledger wanted = expected(o, e);
            CHECK(s.ledger[e].count == rows && wanted.count == rows && s.ledger[e].sum == wanted.sum);
        }
    }
    check_samples(part, &first, rows, kind);
    memset(&s, 0, sizeof s); /* three ranks, then five take it up with what the ledger was */
    o.world = 3;
    deliver(o, 0, steps / 2, &s);
    o.world = 5;
    deliver(o, steps / 2, UINT64_MAX, &s);
    CHECK(memcmp(first.sample, s.sample, sizeof s.sample) == 0 && s.wrong == 0);
    CHECK(memcmp(first.ledger, s.ledger, sizeof s.ledger) == 0);
    dpt_draws_destroy(&draws);
}

/* NULL; a split's larger part; few rows, in a few blocks of one file; the other file. */
static dpt_selection *make_part(int which) {
    dpt_selection *part = NULL, *taken = NULL;
    if (which == 0 || !CHECK_OK(dpt_selection_create(ROWS, which == 1, &part))) return NULL;
    if (which == 1 && CHECK_OK(dpt_split_take(ROWS, 100, 3, 1, &taken))) dpt_selection_remove_of(part, taken);
    dpt_selection_destroy(&taken);
    for (uint64_t i = 30; which == 2 && i < 60; i += 2) dpt_selection_add(part, i, 1);
    if (which == 3) dpt_selection_add(part, FIRST_ROWS, ROWS - FIRST_ROWS);
    CHECK_OK(dpt_selection_seal(part));
    return part;
}

static void check_part(int which) {
    dpt_selection *part = make_part(which);
    for (order kind = FILES; kind < ORDERS; kind++)
        for (size_t b = 0; b < (CHECK_IS_SLOW ? 1 : sizeof batches / sizeof *batches); b++)
            check_order(part, kind, batches[b]);
    dpt_selection_destroy(&part);
}

static void all_samples(void) { check_part(0); }
static void of_a_split(void) { check_part(1); }
static void few_rows(void) { check_part(2); }
static void of_one_file(void) { check_part(3); }

/* Blocks are what the selection leaves of chunks; those without rows are none. */
static void lanes_of_a_part(void) {
    dpt_selection *part = make_part(3);
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 24, o.shuffle = true, o.window = 2, o.selection = part;
    dpt_lanes_shape shape;
    dpt_lanes_file *file;
    if (CHECK_OK(dpt_loader_lanes(data, &o, &file, &shape))) {
        CHECK_EQ_I64(shape.blocks, 14); /* 213 rows by 16 */
        for (uint64_t b = 0; b < 14; b++) CHECK_EQ_I64(shape.begin[b], b * 16);
        CHECK(shape.begin[14] == ROWS - FIRST_ROWS && shape.lanes == 1);
        dpt_free(file);
    }
    dpt_selection_destroy(&part);
    part = make_part(2);
    o.selection = part;
    if (CHECK_OK(dpt_loader_lanes(data, &o, &file, &shape))) { /* samples 30; 32 to 46; 48 to 58 */
        CHECK(shape.blocks == 3 && shape.begin[1] == 1 && shape.begin[2] == 9 && shape.begin[3] == 15);
        dpt_free(file);
    }
    dpt_selection_destroy(&part);
}

static void refuses(void) {
    dpt_loader_options o;
    dpt_loader *loader;
    dpt_selection *part;
    dpt_loader_options_init(&o);
    if (!CHECK_OK(dpt_selection_create(ROWS - 1, true, &part)) || !CHECK_OK(dpt_selection_seal(part))) return;
    o.global_batch = 10, o.selection = part;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG,
                "a selection from 519 samples, but a dataset of 520");
    dpt_selection_destroy(&part);
    part = make_part(1);
    o.selection = part, o.shuffle = true, o.window = 2, o.threads = 0;
    int failures = 0;
    for (int64_t n = 1; n < 100; n++, failures++) {
        const dpt_batch *b;
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_loader_create(data, &o, &loader);
        if (status == DPT_OK) status = dpt_loader_next(loader, &b);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || status == DPT_ERR_MEMORY);
        dpt_loader_destroy(&loader);
        if (status == DPT_OK) break;
    }
    CHECK(failures > 15 && failures < 99);
    dpt_selection_destroy(&part);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "loader_part", {"start", start}, {"all_samples", all_samples},
                      {"of_a_split", of_a_split}, {"few_rows", few_rows}, {"of_one_file", of_one_file},
                      {"lanes_of_a_part", lanes_of_a_part}, {"refuses", refuses}, {"stop", stop});
}
