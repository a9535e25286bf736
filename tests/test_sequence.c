/* Samples of different lengths: steps and offsets in every stored type and storage, over files and ranks, as the loader
 * delivers them for every thread count and restart; and each way in which offsets can lie. What a step holds is a
 * formula of sample and step. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/loader.h"
#include "data/manifest.h"
#include "data_files.h"

enum { FILES = 3, ROWS = 61, WIDTH = 2, MOST = 9, LONGEST_AT = 33 };

static dpt_control control;
static const int file_rows[FILES] = {20, 0, 41};

/* The next time that HDF5 opens a file, `from` becomes `to`. */
static const char *from, *to;

hid_t H5Fopen(const char *path, unsigned flags, hid_t access) {
    static hid_t (*real)(const char *, unsigned, hid_t);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "H5Fopen");
    if (from) CHECK(rename(from, to) == 0);
    from = NULL;
    return real(path, flags, access);
}

static int64_t length_at(uint64_t sample) { return sample == LONGEST_AT ? MOST : (int64_t)(sample * 5 % 7); }

static int64_t value_at(uint64_t sample, int64_t step, int64_t element) {
    return (int64_t)(sample * 11 + (uint64_t)step * 3 + (uint64_t)element) % 100;
}

static hid_t disk_type(int t) {
    const hid_t types[] = {H5T_STD_I8LE,  H5T_STD_U8LE,  H5T_STD_I16BE, H5T_STD_U16LE,  H5T_STD_I32LE,
                           H5T_STD_U32BE, H5T_STD_I64LE, H5T_STD_U64BE, H5T_IEEE_F32LE, H5T_IEEE_F64BE};
    return types[t];
}
enum { INTEGERS = 8, TYPES = 10 };

static void write_one(hid_t file, const char *path, hid_t disk, const void *data, hsize_t rows, hsize_t width,
                      file_storage storage) {
    if (rows < 7) storage = STORE_PLAIN; /* less than a chunk */
    file_add(file, path, disk, DPT_I64, data, width > 1 ? 2 : 1, (hsize_t[]){rows, width}, storage);
}

/* File f of the three: x [total, WIDTH] and z [total], their offsets, y [rows]. */
static void write_file(int f, hid_t steps, hid_t offsets, file_storage storage) {
    static int64_t x[ROWS * MOST * WIDTH], z[ROWS * MOST], offset[ROWS + 1], y[ROWS];
    uint64_t first = f == 0 ? 0 : f == 1 ? 20 : 20;
    int64_t total = 0;
    for (int r = 0; r < file_rows[f]; r++) {
        uint64_t sample = first + (uint64_t)r;
        y[r] = (int64_t)sample;
        for (int64_t k = 0; k < length_at(sample); k++, total++) {
            z[total] = value_at(sample, k, 7);
            for (int e = 0; e < WIDTH; e++) x[total * WIDTH + e] = value_at(sample, k, e);
        }
        offset[r + 1] = total;
    }
    char name[20];
    snprintf(name, sizeof name, "part%d.h5", f);
    hid_t file = file_create(name);
    write_one(file, "x", steps, x, (hsize_t)total, WIDTH, storage);
    write_one(file, "z", steps, z, (hsize_t)total, 1, storage);
    write_one(file, "begin", offsets, offset, (hsize_t)file_rows[f] + 1, 1, storage);
    write_one(file, "y", H5T_STD_I32LE, y, (hsize_t)file_rows[f], 1, STORE_PLAIN);
    H5Fclose(file);
}

static void write_files(hid_t steps, hid_t offsets, file_storage storage) {
    files_ready();
    for (int f = 0; f < FILES && check_rank() == 0; f++) write_file(f, steps, offsets, storage);
    files_ready();
}

static const dpt_field_spec x_spec = {.name = "x",
                                      .path = "x",
                                      .dtype = DPT_F32,
                                      .ndim = DPT_ANY_NDIM,
                                      .offsets = "begin"},
                            y_spec = {.name = "y", .path = "y", .dtype = DPT_I64, .ndim = 0},
                            n_spec = {.name = "x_length", .dtype = DPT_I64, .ndim = 0, .offsets = "begin"};

static dpt_status open_them(const dpt_field_spec *fields, int count, dpt_dataset **ds) {
    const char *files[] = {file_path("part0.h5"), file_path("part1.h5"), file_path("part2.h5")};
    bool zero = check_rank() == 0; /* only rank 0's arguments count */
    return dpt_dataset_open(&control, zero ? files : NULL, zero ? FILES : 0, zero ? fields : NULL, zero ? count : 0,
                            ds);
}

static double delivered(uint64_t sample, int64_t step, int64_t element, int64_t length, double pad) {
    int64_t n = length_at(sample) < length ? length_at(sample) : length;
    return step < n ? (double)value_at(sample, step, element) : pad;
}

/* All samples of x, y and x_length, in whatever order they come. */
static void check_batches(const dpt_dataset *ds, const dpt_loader_options *o, int64_t length, double pad,
                          uint8_t seen[ROWS]) {
    dpt_loader *loader;
    if (!CHECK_OK(dpt_loader_create(ds, o, &loader))) return;
    int wrong = 0;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
        const float *x = b->array[0].data;
        const int64_t *y = b->array[1].data, *n = b->array[2].data;
        for (int64_t r = 0; r < b->rows; r++) {
            uint64_t sample = b->sample[r];
            seen[sample]++;
            wrong += y[r] != (int64_t)sample;
            wrong += n[r] != (length_at(sample) < length ? length_at(sample) : length);
            for (int64_t i = 0; i < length * WIDTH; i++)
                wrong += *x++ != (float)delivered(sample, i / WIDTH, i % WIDTH, length, pad);
        }
    }
    CHECK_EQ_I64(wrong, 0);
    dpt_loader_destroy(&loader);
}

static dpt_loader_options options(void) {
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = 8, o.seed = 5, o.shuffle = true, o.epochs = 1;
    return o;
}

static void check_all(const dpt_dataset *ds, int64_t length, double pad) {
    for (int threads = 0; threads < 4; threads += 3)
        for (int order = 0; order < 3; order++) {
            uint8_t seen[ROWS] = {0};
            for (int rank = 0; rank < 2; rank++) {
                dpt_loader_options o = options();
                o.rank = rank, o.world = 2, o.threads = threads, o.shuffle = order > 0, o.window = order == 2 ? 2 : 0;
                check_batches(ds, &o, length, pad, seen);
            }
            int wrong = 0;
            for (int i = 0; i < ROWS; i++) wrong += seen[i] != 1;
            CHECK_EQ_I64(wrong, 0);
        }
}

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }

static void stop(void) {
    check_nothing_open();
    dpt_control_close(&control);
}

/* Every stored type and storage of steps and offsets. */
static void types_and_storage(void) {
    for (int t = 0; t < TYPES; t++) {
        write_files(disk_type(t), disk_type(4 + t % 4), (file_storage)(t % 5));
        dpt_dataset *ds;
        if (!CHECK_OK(open_them((dpt_field_spec[]){x_spec, y_spec, n_spec}, 3, &ds))) continue;
        CHECK_EQ_I64(dpt_dataset_rows(ds), ROWS);
        const dpt_field *x = dpt_dataset_field(ds, 0);
        CHECK(x->ndim == 2 && x->dim[0] == MOST && x->dim[1] == WIDTH && x->elements == MOST * WIDTH && x->sequence);
        CHECK(!dpt_dataset_field(ds, 1)->sequence && !dpt_dataset_field(ds, 2)->sequence);
        CHECK_EQ_I64(dpt_dataset_file_rows(ds, 2), 41);
        uint64_t row;
        dpt_dataset_locate(ds, 20, &row);
        CHECK_EQ_I64(row, 0);
        int64_t length[ROWS];
        CHECK_OK(dpt_dataset_lengths(ds, 2, 0, ROWS, length));
        CHECK_OK(dpt_dataset_lengths(ds, 0, 10, 30, length + 10));
        for (uint64_t i = 0; i < ROWS; i++) CHECK_EQ_I64(length[i], length_at(i));
        CHECK_FAILS(dpt_dataset_lengths(ds, 1, 0, 1, length), DPT_ERR_ARG, "field 1 is not of sequences");
        CHECK_FAILS(dpt_dataset_lengths(ds, 0, 60, 2, length), DPT_ERR_ARG, "samples 60 to 62 of a dataset of 61");
        check_all(ds, MOST, 0);
        dpt_dataset_close(&ds);
    }
}

/* Cut, padded further, padded with a value, of two fields with the same offsets and none without. */
static void lengths(void) {
    write_files(H5T_STD_I32LE, H5T_STD_I64LE, STORE_ALL_FILTERS);
    dpt_field_spec x = x_spec, n = n_spec;
    uint64_t digest = 0;
    for (int64_t length = 1; length < 13; length += 4) {
        dpt_dataset *ds;
        x.length = n.length = length, x.cuts = n.cuts = true, x.pad = -0.5;
        if (!CHECK_OK(open_them((dpt_field_spec[]){x, y_spec, n}, 3, &ds))) return;
        check_all(ds, length, -0.5);
        CHECK(digest != dpt_dataset_digest(ds));
        digest = dpt_dataset_digest(ds);
        dpt_dataset_close(&ds);
    }
    dpt_dataset *ds, *again;
    dpt_field_spec z = {
        .name = "z", .path = "z", .dtype = DPT_I64, .ndim = 1, .dim = {11}, .offsets = "begin", .pad = -100};
    if (!CHECK_OK(open_them((dpt_field_spec[]){x_spec, z}, 2, &ds))) return;
    CHECK_EQ_I64(dpt_dataset_field(ds, 0)->dim[0], MOST);
    CHECK_EQ_I64(dpt_dataset_field(ds, 1)->dim[0], 11);
    CHECK_OK(open_them((dpt_field_spec[]){x_spec, z}, 2, &again));
    CHECK(again && dpt_dataset_digest(ds) == dpt_dataset_digest(again));
    dpt_dataset_close(&again);
    dpt_loader_options o = options();
    dpt_normalise labels[] = {{.scale = 0.5, .clips = true, .low = 0, .high = 40}, {.classes = 100}};
    o.normalise = labels;
    dpt_loader *loader;
    int wrong = 0;
    if (CHECK_OK(dpt_loader_create(ds, &o, &loader)))
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
            const float *at = b->array[0].data;
            const int64_t *class = b->array[1].data;
            for (int64_t r = 0; r < b->rows; r++) {
                for (int64_t k = 0; k < 11; k++) wrong += *class ++ != (int64_t)delivered(b->sample[r], k, 7, 11, -100);
                for (int64_t k = 0; k < MOST * WIDTH; k++) /* 0 behind the end, whatever is done to values */
                    wrong += *at++ != (float)fmin(40, delivered(b->sample[r], k / WIDTH, k % WIDTH, MOST, 0) / 2);
            }
        }
    CHECK_EQ_I64(wrong, 0);
    dpt_loader_destroy(&loader);
    o.mixup = 1;
    CHECK_FAILS(dpt_loader_create(ds, &o, &loader), DPT_ERR_CONFIG, "\"x\" is of sequences of different lengths");
    dpt_dataset_close(&ds);
}

/* A logarithm, which padding must not take; classes as steps of numbers, all 0 behind the end. */
static void transforms(void) {
    dpt_dataset *ds;
    dpt_field_spec hot = {.name = "h", .path = "z", .dtype = DPT_F32, .ndim = 1, .dim = {-1}, .offsets = "begin"};
    if (!CHECK_OK(open_them((dpt_field_spec[]){x_spec, hot}, 2, &ds))) return;
    dpt_loader_options o = options();
    dpt_normalise n[] = {{.logs = true, .offset = 1e-9}, {.one_hot = 100}};
    o.normalise = n;
    dpt_loader *loader;
    int wrong = 0;
    if (CHECK_OK(dpt_loader_create(ds, &o, &loader)))
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; dpt_loader_release(loader)) {
            const float *x = b->array[0].data, *h = b->array[1].data;
            for (int64_t r = 0; r < b->rows; r++)
                for (int64_t k = 0; k < MOST; k++) {
                    bool real = k < length_at(b->sample[r]);
                    for (int e = 0; e < WIDTH; e++) {
                        double v = real ? log((double)value_at(b->sample[r], k, e) + 1e-9) : 0;
                        wrong += fabs(*x++ - v) > 1e-5;
                    }
                    for (int64_t c = 0; c < 100; c++)
                        wrong += *h++ != (float)(real && c == value_at(b->sample[r], k, 7));
                }
        }
    CHECK_EQ_I64(wrong, 0);
    dpt_loader_destroy(&loader);
    dpt_dataset_close(&ds);
}

/* What comes after a restart is what would have come. */
static void restarts(void) {
    dpt_dataset *ds;
    if (!CHECK_OK(open_them((dpt_field_spec[]){x_spec, y_spec, n_spec}, 3, &ds))) return;
    for (uint64_t first = 0; first <= 8; first += 4) {
        dpt_loader_options o = options();
        uint8_t all[ROWS] = {0}, before[ROWS] = {0}, after[ROWS] = {0};
        check_batches(ds, &o, MOST, 0, all);
        dpt_loader *loader;
        if (!CHECK_OK(dpt_loader_create(ds, &o, &loader))) return;
        const dpt_batch *b;
        for (uint64_t s = 0; s < first && CHECK_OK(dpt_loader_next(loader, &b)) && b; s++) {
            for (int64_t r = 0; r < b->rows; r++) before[b->sample[r]]++;
            dpt_loader_release(loader);
        }
        dpt_loader_destroy(&loader);
        o.first_step = first;
        check_batches(ds, &o, MOST, 0, after);
        int wrong = 0;
        for (int i = 0; i < ROWS; i++) wrong += all[i] != 1 || before[i] + after[i] != 1;
        CHECK_EQ_I64(wrong, 0);
    }
    dpt_dataset_close(&ds);
}

static void refuse(const dpt_field_spec *fields, int count, dpt_status code, const char *text) {
    dpt_dataset *ds = (dpt_dataset *)&control;
    CHECK_FAILS(open_them(fields, count, &ds), code, text);
    CHECK(ds == NULL);
}

static void wrong_wishes(void) {
    dpt_field_spec x = x_spec;
    x.length = 8;
    refuse(&x, 1, DPT_ERR_DATA, "part2.h5: x: sample 33 (row 13 of the file) has 9 steps, more than the 8 wanted");
    x.length = -1;
    refuse(&x, 1, DPT_ERR_ARG, "samples of -1 steps");
    x = x_spec, x.ndim = 0;
    refuse(&x, 1, DPT_ERR_SHAPE, "which have one dimension at least");
    x = x_spec, x.ndim = 2, x.dim[0] = 9, x.dim[1] = 3;
    refuse(&x, 1, DPT_ERR_SHAPE, "x: a sample is [2], expected [3]");
    x = x_spec, x.ndim = 2, x.dim[0] = 9, x.dim[1] = 2, x.length = 10;
    refuse(&x, 1, DPT_ERR_SHAPE, "delivered with 10 steps, expected 9");
    x = x_spec, x.dtype = DPT_U8, x.pad = 256;
    refuse(&x, 1, DPT_ERR_ARG, "\"x\" is u8: it cannot be padded with 256");
    x = x_spec, x.pad = 1e39;
    refuse(&x, 1, DPT_ERR_ARG, "\"x\" is f32: it cannot be padded with 1e+39");
    x = x_spec, x.offsets = "none";
    refuse(&x, 1, DPT_ERR_DATA, "no such dataset");
}

/* One file whose offsets are as given, for 12 steps and 3 samples. */
static void lie(const int64_t *offset, int count, hid_t type, dpt_status code, const char *text) {
    files_ready();
    if (check_rank() == 0) {
        int64_t values[12] = {0};
        hid_t file = file_create("lie.h5");
        write_one(file, "x", H5T_STD_I32LE, values, 12, 1, STORE_PLAIN);
        write_one(file, "y", H5T_STD_I32LE, values, 3, 1, STORE_PLAIN);
        write_one(file, "begin", type, offset, (hsize_t)count, 1, STORE_PLAIN);
        H5Fclose(file);
    }
    files_ready();
    const char *path = file_path("lie.h5");
    dpt_dataset *ds = (dpt_dataset *)&control;
    CHECK_FAILS(dpt_dataset_open(&control, &path, 1, (dpt_field_spec[]){x_spec, y_spec}, 2, &ds), code, text);
    CHECK(ds == NULL && strstr(dpt_last_error(), "lie.h5") != NULL);
}

static void lying_offsets(void) {
    lie((int64_t[]){0, 4, 8, 12}, 4, H5T_IEEE_F32LE, DPT_ERR_UNSUPPORTED, "begin: stored as f32: offsets are integers");
    lie((int64_t[]){1, 4, 8, 12}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "begin: the first offset is 1, expected 0");
    lie((int64_t[]){0, 9, 8, 12}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "begin: offset 2 is 8, the one before it 9");
    lie((int64_t[]){0, -1, 8, 12}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "offset 1 is -1, the one before it 0");
    lie((int64_t[]){0, 4, 8, 13}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "begin ends with 13, but x has 12 rows");
    lie((int64_t[]){0, 4, 8, 11}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "begin ends with 11, but x has 12 rows");
    lie((int64_t[]){0, 4, 8, INT64_MAX}, 4, H5T_STD_I64LE, DPT_ERR_DATA, "ends with 9223372036854775807");
    lie((int64_t[]){0, -1, 8, 12}, 4, H5T_NATIVE_INT64, DPT_ERR_DATA, "offset 1 is -1");
    lie((int64_t[]){0, 4, 12}, 3, H5T_STD_I64LE, DPT_ERR_DATA, "begin holds 3 offsets, so 2 samples; y has 3");
    lie((int64_t[]){0, 4, 8, 10, 12}, 5, H5T_STD_I64LE, DPT_ERR_DATA, "begin holds 5 offsets, so 4 samples; y has 3");
    lie((int64_t[]){0}, 0, H5T_STD_I64LE, DPT_ERR_DATA, "0 samples");
    lie((int64_t[]){0}, 1, H5T_STD_I64LE, DPT_ERR_DATA, "begin holds 1 offsets, so 0 samples; y has 3");
}

/* u64 beyond i64, and two offsets of different counts where no other field says how many samples there are. */
static void lying_pairs(void) {
    files_ready();
    if (check_rank() == 0) {
        int64_t values[12] = {0}, three[] = {0, 4, 8, 12}, two[] = {0, 4, 12};
        uint64_t large[] = {0, 1ull << 63, 8, 12};
        hid_t file = file_create("pair.h5"), space = H5Screate_simple(1, (hsize_t[]){4}, NULL);
        write_one(file, "x", H5T_STD_I32LE, values, 12, 1, STORE_PLAIN);
        write_one(file, "z", H5T_STD_I32LE, values, 12, 1, STORE_PLAIN);
        write_one(file, "begin", H5T_STD_I64LE, three, 4, 1, STORE_PLAIN);
        write_one(file, "two", H5T_STD_I64LE, two, 3, 1, STORE_PLAIN);
        hid_t set = H5Dcreate2(file, "large", H5T_STD_U64BE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(set, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, large);
        H5Dclose(set);
        H5Sclose(space);
        H5Fclose(file);
    }
    files_ready();
    const char *path = file_path("pair.h5");
    dpt_dataset *ds;
    dpt_field_spec z = x_spec, large = x_spec;
    z.name = z.path = "z", z.offsets = "two", large.offsets = "large";
    CHECK_FAILS(dpt_dataset_open(&control, &path, 1, (dpt_field_spec[]){x_spec, z}, 2, &ds), DPT_ERR_DATA,
                "two holds 3 offsets, so 2 samples; begin has 3");
    CHECK_FAILS(dpt_dataset_open(&control, &path, 1, &large, 1, &ds), DPT_ERR_DATA,
                "large: offset 1: the value 9223372036854775808 does not fit i64");
}

/* Fields are opened one after another: a manifest that becomes shorter, or longer, in between is noticed. */
static void changed_manifest(void) {
    const char *files[] = {file_path("part0.h5"), file_path("part1.h5"), file_path("part2.h5")};
    const char *now = file_path("now.manifest"), *next = file_path("next.manifest");
    const dpt_field_spec pairs[][2] = {{x_spec, y_spec}, {x_spec, n_spec}};
    write_files(H5T_STD_I32LE, H5T_STD_I64LE, STORE_PLAIN);
    for (int i = 0; i < 4; i++) {
        dpt_dataset *ds;
        const bool shorter = i % 2;
        const char *text = shorter ? "1 files, 3 a moment ago" : "3 files, 1 a moment ago";
        if (check_rank() == 0) {
            CHECK_OK(dpt_manifest_write(now, files, shorter ? FILES : 1));
            CHECK_OK(dpt_manifest_write(next, files, shorter ? 1 : FILES));
            from = next, to = now;
        }
        CHECK_FAILS(dpt_dataset_open(&control, &now, 1, pairs[i / 2], 2, &ds), DPT_ERR_DATA, text);
        CHECK(ds == NULL);
    }
}

static void out_of_memory(void) {
    write_files(H5T_STD_I32LE, H5T_STD_I64LE, STORE_CHUNKS);
    int failures = 0;
    for (int64_t n = 1; n < 400; n++) {
        dpt_dataset *ds;
        dpt_alloc_fail_at(check_rank() == check_world() - 1 ? n : 0);
        dpt_status status = open_them((dpt_field_spec[]){x_spec, y_spec, n_spec}, 3, &ds);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || (status == DPT_ERR_MEMORY && ds == NULL));
        dpt_dataset_close(&ds);
        int64_t fine = status == DPT_OK;
        CHECK_OK(dpt_control_same(&control, "the outcome", (uint64_t)fine));
        if (fine) break;
        failures++;
    }
    CHECK(failures > 20 && failures < 399);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "sequence", {"start", start}, {"types_and_storage", types_and_storage},
                      {"lengths", lengths}, {"transforms", transforms}, {"restarts", restarts},
                      {"wrong_wishes", wrong_wishes}, {"lying_offsets", lying_offsets}, {"lying_pairs", lying_pairs},
                      {"changed_manifest", changed_manifest}, {"out_of_memory", out_of_memory}, {"stop", stop});
}
