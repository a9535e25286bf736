/* What a loader takes of memory: as counted beforehand, and within a budget however that is divided; chunks that are
 * kept are decoded once in all epochs, by threads and ranks together. */
#include "data/loader_memory.h"

#include <malloc.h>
#include <stdlib.h>

#include "data_files.h"

enum { ROWS = 500, WIDTH = 3000, CHUNK_ROWS = 7, CHUNKS = (ROWS + CHUNK_ROWS - 1) / CHUNK_ROWS };

static dpt_control control;
static dpt_dataset *plain, *deflated;
enum { STEPS = 4, SAMPLES = ROWS / STEPS }; /* of deflated.h5 as sequences */

static dpt_dataset *make(const char *name, file_storage storage) {
    float *x = malloc(sizeof *x * ROWS * WIDTH);
    int32_t y[ROWS];
    int64_t begin[SAMPLES + 1];
    for (int i = 0; i <= SAMPLES; i++) begin[i] = i * STEPS;
    for (int64_t i = 0; i < (int64_t)ROWS * WIDTH; i++) x[i] = (float)(i * 2654435761u % 1000003);
    for (int row = 0; row < ROWS; row++) y[row] = row % 10;
    const char *path = file_path(name);
    if (control.rank == 0) {
        hid_t file = file_create(name);
        file_add(file, "x", H5T_IEEE_F32LE, DPT_F32, x, 2, (hsize_t[]){ROWS, WIDTH}, storage);
        file_add(file, "y", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, storage);
        file_add(file, "begin", H5T_STD_I64LE, DPT_I64, begin, 1, (hsize_t[]){SAMPLES + 1}, STORE_PLAIN);
        H5Fclose(file);
    }
    free(x);
    files_ready();
    dpt_field_spec fields[] = {{.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
                               {.name = "y", .path = "y", .dtype = DPT_I64, .ndim = 0}};
    dpt_dataset *ds = NULL;
    CHECK_OK(dpt_dataset_open(&control, &path, 1, fields, 2, &ds));
    return ds;
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    plain = make("plain.h5", STORE_PLAIN);
    deflated = make("deflated.h5", STORE_ALL_FILTERS);
}

static void stop(void) {
    dpt_dataset_close(&plain);
    dpt_dataset_close(&deflated);
    check_nothing_open();
    dpt_control_close(&control);
}

static dpt_loader_options options(uint64_t window) {
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 40;
    o.rank = control.rank, o.world = control.world;
    o.shuffle = true;
    o.window = window;
    o.epochs = 3;
    return o;
}

/* By formula. */
static void counts(void) {
    dpt_loader_options o = options(0);
    dpt_loader_need need;
    o.world = 1, o.rank = 0, o.threads = 2;
    const uint64_t row = WIDTH * 4 + 8 + 2 * 8, aligned = (WIDTH * 4 + 63) / 64 * 64,
                   scratch = (256 << 10) + 2 * aligned;
    if (!CHECK_OK(dpt_loader_measure(plain, &o, &need))) return;
    CHECK_EQ_I64(need.batch_bytes, 40 * row);
    CHECK_EQ_I64(need.thread_bytes, 2 * scratch);
    CHECK_EQ_I64(need.chunk_bytes, 0);
    CHECK_EQ_I64(dpt_loader_least(&need), 40 * row + 2 * scratch);
    if (!CHECK_OK(dpt_loader_measure(deflated, &o, &need))) return;
    CHECK_EQ_I64(need.chunk_bytes, CHUNK_ROWS * (2 * WIDTH * 4 + 4)); /* one of each field, one for another thread */
    CHECK(need.thread_bytes > 2 * (scratch + 2 * CHUNK_ROWS * WIDTH * 4));
    o.global_batch = 0;
    CHECK_FAILS(dpt_loader_measure(plain, &o, &need), DPT_ERR_ARG, "a global batch of 0");
}

static void divides(void) {
    const dpt_loader_need need = {.batch_bytes = 1000, .thread_bytes = 300, .chunk_bytes = 200, .threads = 1},
                          bare = {.batch_bytes = 1000, .thread_bytes = 300, .threads = 8};
    const struct {
        const dpt_loader_need *need;
        uint64_t bytes, ahead, chunks, taken;
        int slots;
        uint64_t cache;
    } plan[] = {{&need, 1500, 0, 0, 1500, 1, 200},        /* the least */
                {&need, 2499, 0, 0, 1500, 1, 200},        /* no second batch */
                {&need, 2500, 0, 0, 2500, 2, 200},        /* two before anything else */
                {&need, 6500, 0, 1000, 4300, 3, 1000},    /* batches in half of it */
                {&need, 6500, 0, 1 << 20, 6500, 3, 3200}, /* chunks in the rest */
                {&need, 100000, 7000, 0, 7500, 7, 200},   /* as far ahead as asked */
                {&need, 100000, 1, 0, 2500, 2, 200},      /* but two batches */
                {&need, 1 << 30, 0, 0, 32500, 32, 200},   /* and 32, where nothing is asked */
                {&need, 1 << 30, 1 << 29, 0, 1024500, 1024, 200},
                {&bare, 1 << 30, 0, 1 << 20, 32300, 32, 0}, /* nothing is decoded */
                {&bare, 8300, 0, 0, 4300, 4, 0}};
    for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
        dpt_loader_options o = {0};
        uint64_t taken = dpt_loader_divide(plan[i].need, plan[i].bytes, plan[i].ahead, plan[i].chunks, &o);
        check_that(taken == plan[i].taken && o.slots == plan[i].slots && o.cache_bytes == plan[i].cache, __FILE__,
                   __LINE__, "plan %d: %d slots, %d bytes of chunks, %d bytes", (int)i, o.slots, (int)o.cache_bytes,
                   (int)taken);
        CHECK(taken <= plan[i].bytes);
    }
    const dpt_loader_need large = {.batch_bytes = INT64_MAX, .thread_bytes = INT64_MAX, .threads = 1},
                          wide = {.batch_bytes = 10 << 20, .threads = 8};
    CHECK_EQ_I64(dpt_loader_least(&large), INT64_MAX);
    CHECK_EQ_I64(dpt_loader_wanted_slots(&large, 0), 4);
    CHECK_EQ_I64(dpt_loader_wanted_slots(&wide, 0), 9); /* a slot for each thread and one in use */
}

static uint64_t heap(void) {
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

/* Never more from malloc than the budget, and the index's and order's small things. */
static void stays_within(const dpt_dataset *ds, uint64_t window, uint64_t budget, int threads) {
    enum { SMALL = 64 << 10 };
    dpt_loader_options o = options(window);
    dpt_loader_need need;
    dpt_loader *loader;
    o.threads = threads;
    if (!CHECK_OK(dpt_loader_measure(ds, &o, &need)) || !CHECK(dpt_loader_least(&need) <= budget)) return;
    CHECK(dpt_loader_divide(&need, budget, 0, 64 << 20, &o) <= budget);
    uint64_t before = heap(), most = 0;
    if (!CHECK_OK(dpt_loader_create(ds, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
        uint64_t now = heap() - before;
        if (now > most) most = now;
    }
    check_that(most <= budget + SMALL, __FILE__, __LINE__, "%d of %d bytes", (int)most, (int)budget);
    dpt_loader_destroy(&loader);
}

static void keeps_to_budget(void) {
    for (int threads = 0; threads <= 3; threads += 3) {
        stays_within(plain, 0, 4 << 20, threads);
        stays_within(deflated, 0, 4 << 20, threads);
        stays_within(deflated, 2, 5 << 20, threads);
    }
}

/* Steps have readers and a cache of their own: they are counted, and what a budget gives to chunks is theirs. */
static void sequences(void) {
    const char *path = file_path("deflated.h5");
    const dpt_field_spec fields[] = {
        {.name = "x", .path = "x", .offsets = "begin", .dtype = DPT_F32, .ndim = 2, .dim = {DPT_ANY_DIM, WIDTH}},
        {.name = "n", .offsets = "begin", .dtype = DPT_I64, .ndim = 0}};
    const int64_t all = (int64_t)CHUNKS * CHUNK_ROWS * WIDTH * 4;
    dpt_loader_options o = options(0);
    dpt_loader_need need;
    dpt_dataset *ds;
    if (!CHECK_OK(dpt_dataset_open(&control, &path, 1, fields, 2, &ds))) return;
    o.global_batch = 2 * control.world, o.threads = 2;
    CHECK_OK(dpt_loader_measure(ds, &o, &need));
    CHECK_EQ_I64(need.chunk_bytes, 2 * CHUNK_ROWS * WIDTH * 4);
    CHECK(need.thread_bytes > 2 * 2 * CHUNK_ROWS * WIDTH * 4);
    dpt_loader_divide(&need, 64 << 20, 1, (uint64_t)all, &o);
    CHECK_EQ_I64(o.cache_bytes, all);
    dpt_loader *loader;
    if (!CHECK_OK(dpt_loader_create(ds, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b;) dpt_loader_release(loader);
    CHECK(dpt_loader_done(loader).chunks <= CHUNKS);
    dpt_loader_destroy(&loader);
    for (int threads = 0; threads <= 3; threads += 3) stays_within(ds, 0, 6 << 20, threads);
    dpt_dataset_close(&ds);
}

/* Over all ranks, threads and epochs. */
static void decoded_once(void) {
    for (int order = 0; order < 3; order++) { /* exact, lanes, as the file */
        dpt_loader_options o = options(order == 1 ? 2 : 0);
        dpt_loader *loader;
        o.shuffle = order < 2;
        o.threads = 2;
        o.cache_bytes = 0;
        if (!CHECK_OK(dpt_node_cache_create(&control, deflated, UINT64_MAX, &o.kept))) return;
        if (!CHECK_OK(dpt_loader_create(deflated, &o, &loader))) return;
        int wrong = 0;
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader))
            for (int64_t r = 0; r < b->rows; r++)
                wrong += ((const int64_t *)b->array[1].data)[r] != (int64_t)(b->sample[r] % 10) ||
                         ((const float *)b->array[0].data)[r * WIDTH] !=
                             (float)(b->sample[r] * WIDTH * 2654435761u % 1000003);
        CHECK_EQ_I64(wrong, 0);
        dpt_loader_work done = dpt_loader_done(loader);
        int64_t chunks = (int64_t)done.chunks;
        CHECK(done.fill_s >= done.still_s && done.still_s >= 0 && done.retries == 0);
        CHECK((done.chunks > 0) == (done.bytes > 0));
        CHECK_OK(dpt_control_sum_i64(&control, &chunks, 1));
        CHECK_EQ_I64(chunks, 2 * CHUNKS);
        dpt_loader_destroy(&loader);
        dpt_node_cache_destroy(&o.kept);
    }
}

/* Without compression every byte of every epoch is read from the file. */
static void bytes_are_counted(void) {
    dpt_loader_options o = options(0);
    dpt_loader *loader;
    if (!CHECK_OK(dpt_loader_create(plain, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b;) dpt_loader_release(loader);
    int64_t bytes = (int64_t)dpt_loader_done(loader).bytes;
    CHECK_OK(dpt_control_sum_i64(&control, &bytes, 1));
    CHECK_EQ_I64(bytes, 3 * ROWS * (WIDTH * 4 + 4));
    dpt_loader_destroy(&loader);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "loader_memory", {"start", start}, {"counts", counts}, {"divides", divides},
                      {"keeps_to_budget", keeps_to_budget}, {"sequences", sequences}, {"decoded_once", decoded_once},
                      {"bytes_are_counted", bytes_are_counted}, {"stop", stop});
}
