/* The loader: the same samples in the same order for every rank count, thread count and restart; conversion by formula;
 * errors in their place; shutting down at any moment. Ranks are played by one process: they are options here. */
#include "data/loader.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/sampler.h"
#include "data_files.h"

enum { ROWS = 103, CHANNELS = 2, PIXELS = 12, CLASSES = 10 };

static dpt_control control;
static dpt_dataset *data; /* fields: id (f32, the row), x (u8 as f32), y (i32 as i64) */

static uint8_t pixel(uint64_t row, int64_t element) { return (uint8_t)(row * 13 + (uint64_t)element * 5); }

static void write_file(const char *name, file_storage storage) {
    static float id[ROWS];
    static uint8_t x[ROWS * PIXELS];
    static int32_t y[ROWS];
    for (uint64_t row = 0; row < ROWS; row++) {
        id[row] = (float)row;
        y[row] = (int32_t)row % CLASSES;
        for (int e = 0; e < PIXELS; e++) x[row * PIXELS + (uint64_t)e] = pixel(row, e);
    }
    hid_t file = file_create(name);
    file_add(file, "id", H5T_IEEE_F32LE, DPT_F32, id, 1, (hsize_t[]){ROWS}, storage);
    file_add(file, "x", H5T_STD_U8LE, DPT_U8, x, 3, (hsize_t[]){ROWS, CHANNELS, PIXELS / CHANNELS}, storage);
    file_add(file, "y", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, storage);
    H5Fclose(file);
}

static dpt_dataset *open_fields(const char *name, const dpt_field_spec *fields, int count) {
    const char *path = file_path(name);
    dpt_dataset *ds = NULL;
    CHECK_OK(dpt_dataset_open(&control, &path, 1, fields, count, &ds));
    return ds;
}

static dpt_dataset *open_file(const char *name) {
    return open_fields(name,
                       (dpt_field_spec[]){{.name = "id", .path = "id", .dtype = DPT_F32, .ndim = 0},
                                          {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = 2, .dim = {2, 6}},
                                          {.name = "y", .path = "y", .dtype = DPT_I64, .ndim = DPT_ANY_NDIM}},
                       3);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    write_file("data.h5", STORE_PLAIN);
    data = open_file("data.h5");
}

static void stop(void) {
    dpt_dataset_close(&data);
    check_nothing_open();
    dpt_control_close(&control);
}

static dpt_loader_options options(int64_t global_batch) {
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = global_batch;
    o.shuffle = true;
    o.seed = 77;
    return o;
}

/* What a batch must hold, sample by sample. */
static void check_batch(const dpt_loader_options *o, const dpt_batch *b) {
    dpt_order order = dpt_order_create(ROWS, o->seed);
    CHECK_EQ_I64(b->global_rows, dpt_epoch_batch_rows(ROWS, o->global_batch, b->step));
    int64_t first, rows;
    dpt_share(b->global_rows, o->rank, o->world, &first, &rows);
    CHECK(b->first_row == first && b->rows == rows);
    CHECK(b->array[0].rows == rows && b->array[2].rows == rows && b->array[1].place == DPT_HOST);
    CHECK_EQ_TEXT(b->array[1].name, "x");
    const float *id = b->array[0].data, *x = b->array[1].data;
    const int64_t *y = b->array[2].data;
    int wrong = 0;
    for (int64_t r = 0; r < rows; r++) {
        uint64_t position = b->step * (uint64_t)o->global_batch + (uint64_t)(first + r);
        uint64_t sample = o->shuffle ? dpt_order_exact(&order, b->epoch, position) : position;
        wrong += b->sample[r] != sample || id[r] != (float)sample || y[r] != (int64_t)(sample % CLASSES);
        for (int e = 0; e < PIXELS; e++) wrong += x[r * PIXELS + e] != (float)pixel(sample, e);
    }
    CHECK_EQ_I64(wrong, 0);
}

/* Consumes everything; returns the batches; marks the samples seen of each epoch. */
static int consume(const dpt_dataset *ds, const dpt_loader_options *o, uint8_t seen[][ROWS], uint64_t epochs) {
    dpt_loader *loader;
    if (!CHECK_OK(dpt_loader_create(ds, o, &loader))) return -1;
    int n = 0;
    uint64_t epoch = o->first_epoch, step = o->first_step;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; n++) {
        check_that(b->epoch == epoch && b->step == step, __FILE__, __LINE__, "epoch %d step %d", (int)b->epoch,
                   (int)b->step);
        if (++step == dpt_loader_steps(loader)) step = 0, epoch++;
        check_batch(o, b);
        for (int64_t r = 0; seen && r < b->rows && b->epoch < epochs; r++) seen[b->epoch][b->sample[r]]++;
        dpt_loader_release(loader);
    }
    const dpt_batch *past;
    CHECK_OK(dpt_loader_next(loader, &past));
    CHECK(past == NULL);
    CHECK(dpt_loader_wait_s(loader) >= 0);
    dpt_loader_destroy(&loader);
    CHECK(loader == NULL);
    return n;
}

static void same_for_all_ranks_and_threads(void) {
    const int worlds[] = {1, 2, 3, 8, 40}, threads[] = {0, 1, 3};
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++)
        for (int t = 0; t < 3; t++) {
            uint8_t seen[2][ROWS] = {{0}};
            for (int rank = 0; rank < worlds[w]; rank++) {
                dpt_loader_options o = options(20);
                o.rank = rank, o.world = worlds[w], o.threads = threads[t], o.epochs = 2, o.slots = 3;
                CHECK_EQ_I64(consume(data, &o, seen, 2), 12);
            }
            int wrong = 0; /* nothing dropped, nothing twice */
            for (int i = 0; i < 2 * ROWS; i++) wrong += seen[i / ROWS][i % ROWS] != 1;
            CHECK_EQ_I64(wrong, 0);
        }
}

static void sequential(void) {
    dpt_loader_options o = options(25);
    o.shuffle = false, o.epochs = 1, o.capacity = 64;
    uint8_t seen[1][ROWS] = {{0}};
    CHECK_EQ_I64(consume(data, &o, seen, 1), 5);
    for (int i = 0; i < ROWS; i++) CHECK_EQ_I64(seen[0][i], 1);
    o.global_batch = 1000, o.capacity = 0;
    CHECK_EQ_I64(consume(data, &o, NULL, 0), 1);
}

static void through_hdf5(void) {
    write_file("chunks.h5", STORE_ALL_FILTERS);
    dpt_dataset *ds = open_file("chunks.h5");
    dpt_loader_options o = options(16);
    o.epochs = 2, o.threads = 3;
    if (ds) CHECK_EQ_I64(consume(ds, &o, NULL, 0), 14);
    dpt_dataset_close(&ds);
}

static void restarts(void) {
    dpt_loader_options o = options(20);
    o.epochs = 3, o.first_epoch = 1, o.first_step = 4;
    CHECK_EQ_I64(consume(data, &o, NULL, 0), 8);
    o.first_epoch = 5;
    CHECK_EQ_I64(consume(data, &o, NULL, 0), 0);
    o.epochs = 0, o.first_epoch = 1ull << 40, o.first_step = 6; /* the end of an epoch is the start of the next */
    dpt_loader *loader;
    const dpt_batch *b;
    if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
    for (int i = 0; i < 13; i++) {
        CHECK_OK(dpt_loader_next(loader, &b));
        CHECK_EQ_I64(b->epoch, (1ull << 40) + 1 + (uint64_t)i / 6);
        CHECK_EQ_I64(b->step, i % 6);
        check_batch(&o, b);
        dpt_loader_release(loader);
    }
    dpt_loader_destroy(&loader);
}

static void options_out_of_range(void) {
    dpt_loader *loader;
    dpt_loader_options o = options(0);
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "a global batch of 0 rows");
    o = options(20), o.world = 3, o.capacity = 6;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG,
                "capacity of 6 rows a rank; a global batch of 20 over 3");
    o = options(20), o.rank = 1;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "rank 1 of 1");
    o = options(20), o.first_step = 7;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "first step 7 of an epoch of 6");
    o = options(20), o.threads = -1;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "-1 loader threads");
    o = options(20), o.slots = 0;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "0 loader slots");
    CHECK(loader == NULL);
}

/* Several batches can be held; they stay as they are until released, oldest first. */
static void holds(void) {
    for (int threads = 0; threads < 3; threads++) {
        dpt_loader_options o = options(10);
        o.threads = threads, o.slots = 3;
        dpt_loader *loader;
        const dpt_batch *b[4];
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
        for (int i = 0; i < 3; i++) CHECK_OK(dpt_loader_next(loader, &b[i]));
        CHECK_FAILS(dpt_loader_next(loader, &b[3]), DPT_ERR_ARG, "all 3 batches");
        for (int i = 0; i < 3; i++) {
            CHECK_EQ_I64(b[i]->step, i);
            check_batch(&o, b[i]);
        }
        dpt_loader_release(loader);
        CHECK_OK(dpt_loader_next(loader, &b[3]));
        CHECK_EQ_I64(b[3]->step, 3);
        check_batch(&o, b[1]);
        dpt_loader_destroy(&loader);
    }
}

/* Destroyed at every stage of the work, with batches in flight and held. */
static void shuts_down(void) {
    for (int i = 0; i < 60; i++) {
        dpt_loader_options o = options(1 + i);
        o.threads = i % 4, o.slots = 1 + i % 5;
        dpt_loader *loader;
        const dpt_batch *b;
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
        for (int n = 0; n < i % 7; n++) {
            CHECK_OK(dpt_loader_next(loader, &b));
            if (n < i % 7 - 1 || o.slots == 1) dpt_loader_release(loader);
        }
        dpt_loader_destroy(&loader);
    }
    dpt_loader *none = NULL;
    dpt_loader_destroy(&none);
}

static void first_batch(const dpt_dataset *ds, const dpt_normalise *normalise, dpt_loader **loader,
                        const dpt_batch **batch) {
    dpt_loader_options o = options(ROWS);
    o.shuffle = false, o.normalise = normalise;
    *batch = NULL;
    if (CHECK_OK(dpt_loader_create(ds, &o, loader))) CHECK_OK(dpt_loader_next(*loader, batch));
}

static void normalises(void) {
    const double mean[] = {0.25, 0.5}, std[] = {0.125, 0.3};
    for (int64_t channels = 1; channels <= 2; channels++) {
        dpt_normalise n[3] = {{.scale = 1 / 255.0},
                              {.scale = 1 / 255.0, .channels = channels, .mean = mean, .std = std}};
        dpt_loader *loader;
        const dpt_batch *b;
        first_batch(data, n, &loader, &b);
        const float *id = b ? b->array[0].data : NULL, *x = b ? b->array[1].data : NULL;
        double worst = 0;
        for (int64_t i = 0; b && i < ROWS * PIXELS; i++) {
            int64_t c = channels == 1 ? 0 : i % PIXELS / (PIXELS / CHANNELS);
            double y = (pixel((uint64_t)(i / PIXELS), i % PIXELS) / 255.0 - mean[c]) / std[c];
            worst = fmax(worst, fabs(x[i] - y));
            worst = fmax(worst, fabs(id[i / PIXELS] - (double)(i / PIXELS) / 255.0));
        }
        CHECK(worst < 1e-6);
        dpt_loader_destroy(&loader);
    }
    dpt_loader *loader;
    dpt_loader_options o = options(10);
    dpt_normalise n[3] = {{0}, {.channels = 3, .mean = mean}};
    o.normalise = n;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "\"x\": mean and std of 3 channels, a sample has 2");
    n[1] = (dpt_normalise){.channels = 2, .std = (double[]){1, 0}};
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "\"x\", channel 1: mean 0, std 0");
    n[1] = (dpt_normalise){.classes = 10};
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "only integers have classes");
    n[1] = (dpt_normalise){0}, n[2] = (dpt_normalise){.scale = 2};
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "\"y\" is i64: only floats can be normalised");
}

/* Every pair of stored and wanted types: values that all hold exactly. */
static void converts(void) {
    const hid_t disk[] = {H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_U8LE, H5T_STD_I32LE, H5T_STD_I64LE};
    double values[37];
    for (int i = 0; i < 37; i++) values[i] = i * 7 % 251;
    hid_t file = file_create("pairs.h5"), space = H5Screate_simple(1, (hsize_t[]){37}, NULL);
    for (int t = 0; t < DPT_I64 + 1; t++) {
        hid_t set =
            H5Dcreate2(file, dpt_dtype_text((dpt_dtype)t), disk[t], space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        H5Dclose(set);
    }
    H5Sclose(space);
    H5Fclose(file);
    for (int from = 0; from < DPT_I64 + 1; from++)
        for (int to = 0; to < DPT_I64 + 1; to++) {
            if (to > DPT_F64 && from <= DPT_F64) continue;
            dpt_field_spec spec = {.name = "v", .path = dpt_dtype_text((dpt_dtype)from), .dtype = (dpt_dtype)to};
            dpt_dataset *ds = open_fields("pairs.h5", &spec, 1);
            dpt_loader *loader = NULL;
            const dpt_batch *b = NULL;
            if (ds) first_batch(ds, NULL, &loader, &b);
            int wrong = 0;
            for (int i = 0; b && i < 37; i++) {
                const void *p = b->array[0].data;
                double v = to == DPT_F32   ? (double)((const float *)p)[i]
                           : to == DPT_F64 ? ((const double *)p)[i]
                           : to == DPT_U8  ? ((const uint8_t *)p)[i]
                           : to == DPT_I32 ? ((const int32_t *)p)[i]
                                           : (double)((const int64_t *)p)[i];
                wrong += v != values[i];
            }
            check_that(b && wrong == 0, __FILE__, __LINE__, "%s to %s", spec.path, dpt_dtype_text((dpt_dtype)to));
            dpt_loader_destroy(&loader);
            dpt_dataset_close(&ds);
        }
}

/* One bad value at a sample of 103: the batches before it come, then the error, again and again. */
static void check_bad(const dpt_field_spec *spec, const dpt_normalise *normalise, uint64_t sample, dpt_status code,
                      const char *text) {
    dpt_dataset *ds = open_fields("bad.h5", spec, 1);
    for (int threads = 0; ds && threads <= 3; threads++) {
        dpt_loader_options o = options(10);
        o.shuffle = false, o.threads = threads, o.normalise = normalise;
        dpt_loader *loader;
        const dpt_batch *b;
        if (!CHECK_OK(dpt_loader_create(ds, &o, &loader))) break;
        for (uint64_t step = 0; step < sample / 10; step++) {
            CHECK_OK(dpt_loader_next(loader, &b));
            CHECK_EQ_I64(b ? b->step : 0, step);
            dpt_loader_release(loader);
        }
        for (int i = 0; i < 2; i++) CHECK_FAILS(dpt_loader_next(loader, &b), code, text);
        CHECK(b == NULL && strstr(dpt_last_error(), "bad.h5: ") != NULL);
        dpt_loader_destroy(&loader);
    }
    dpt_dataset_close(&ds);
}

static void bad_values(void) {
    static float f[ROWS * 3], g[ROWS];
    static double d[ROWS];
    static int64_t y[ROWS], z[ROWS];
    static uint8_t u[ROWS];
    f[47 * 3 + 2] = NAN;
    g[0] = -INFINITY;
    d[102] = 1e300;
    y[63] = 10;
    z[21] = -1;
    u[30] = 11;
    hid_t file = file_create("bad.h5");
    file_add(file, "f", H5T_IEEE_F32LE, DPT_F32, f, 2, (hsize_t[]){ROWS, 3}, STORE_PLAIN);
    file_add(file, "g", H5T_IEEE_F32LE, DPT_F32, g, 1, (hsize_t[]){ROWS}, STORE_CHUNKS);
    file_add(file, "d", H5T_IEEE_F64LE, DPT_F64, d, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
    file_add(file, "y", H5T_STD_I64LE, DPT_I64, y, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
    file_add(file, "z", H5T_STD_I64LE, DPT_I64, z, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
    file_add(file, "u", H5T_STD_U8LE, DPT_U8, u, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
    H5Fclose(file);
    dpt_normalise labels = {.classes = 10}, twice = {.scale = 2};
    dpt_field_spec any = {.name = "in", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM}, s = any;
    const char *nan_text = "/f: sample 47 (row 47 of the file), element 2: the value ";
    s.path = "/f";
    check_bad(&s, NULL, 47, DPT_ERR_DATA, nan_text);
    check_bad(&s, &twice, 47, DPT_ERR_DATA, nan_text);
    s.path = "/g";
    check_bad(&s, NULL, 0, DPT_ERR_DATA, "/g: sample 0 (row 0 of the file), element 0: the value -inf");
    s.path = "/d";
    check_bad(&s, NULL, 102, DPT_ERR_DATA, "/d: sample 102 (row 102 of the file), element 0: the value 1e+300, which");
    s.path = "/y", s.dtype = DPT_I32;
    check_bad(&s, &labels, 63, DPT_ERR_DATA,
              "/y: sample 63 (row 63 of the file), element 0: label 10 is outside [0, 10)");
    s.path = "/z", s.dtype = DPT_I64;
    check_bad(&s, &labels, 21, DPT_ERR_DATA, "label -1 is outside [0, 10)");
    s.dtype = DPT_U8;
    check_bad(&s, NULL, 21, DPT_ERR_DATA, "the value -1 does not fit u8");
    s.path = "/u";
    check_bad(&s, &labels, 30, DPT_ERR_DATA, "label 11 is outside [0, 10)");
}

/* With the data shuffled, the error comes at the step that the order says. */
static void bad_value_in_order(void) {
    dpt_field_spec spec = {.name = "in", .path = "/f", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    dpt_dataset *ds = open_fields("bad.h5", &spec, 1);
    dpt_loader_options o = options(10);
    o.threads = 3, o.epochs = 1;
    dpt_order order = dpt_order_create(ROWS, o.seed);
    uint64_t position = 0, step = 0;
    while (dpt_order_exact(&order, 0, position) != 47) position++;
    dpt_loader *loader = NULL;
    const dpt_batch *b;
    if (ds && CHECK_OK(dpt_loader_create(ds, &o, &loader))) {
        for (; dpt_loader_next(loader, &b) == DPT_OK && b; step++) dpt_loader_release(loader);
        CHECK_EQ_I64(step, position / 10);
    }
    dpt_loader_destroy(&loader);
    dpt_dataset_close(&ds);
}

static void file_ends_early(void) {
    write_file("short.h5", STORE_PLAIN);
    dpt_dataset *ds = open_file("short.h5");
    CHECK(truncate(file_path("short.h5"), 2048 + 40) == 0);
    dpt_loader_options o = options(ROWS);
    dpt_loader *loader = NULL;
    const dpt_batch *b;
    if (ds && CHECK_OK(dpt_loader_create(ds, &o, &loader)))
        CHECK_FAILS(dpt_loader_next(loader, &b), DPT_ERR_DATA, "short.h5: id: rows ");
    dpt_loader_destroy(&loader);
    dpt_dataset_close(&ds);
}

static void out_of_memory(void) {
    int failures = 0;
    for (int64_t n = 1; n < 100; n++) {
        dpt_loader_options o = options(10);
        o.threads = 2, o.slots = 2;
        dpt_loader *loader;
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_loader_create(data, &o, &loader);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || (status == DPT_ERR_MEMORY && loader == NULL));
        dpt_loader_destroy(&loader);
        if (status == DPT_OK) break;
        failures++;
    }
    CHECK(failures > 15 && failures < 99);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "loader", {"start", start},
                      {"same_for_all_ranks_and_threads", same_for_all_ranks_and_threads}, {"sequential", sequential},
                      {"through_hdf5", through_hdf5}, {"restarts", restarts},
                      {"options_out_of_range", options_out_of_range}, {"holds", holds}, {"shuts_down", shuts_down},
                      {"normalises", normalises}, {"converts", converts}, {"bad_values", bad_values},
                      {"bad_value_in_order", bad_value_in_order}, {"file_ends_early", file_ends_early},
                      {"out_of_memory", out_of_memory}, {"stop", stop});
}
