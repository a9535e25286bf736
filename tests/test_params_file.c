/* test_params_file.c: params.h5 as written, as read, and as damaged. What this program writes is also read by h5dump,
 * where it is installed; damaged and foreign files are made with HDF5 itself. */
#include "train/params_file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "check.h"
#include "data/hdf5_util.h"

/* A path in the folder of this test; one at a time. */
static const char *at(const char *name) {
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), name);
    return path;
}

static const float weight[2][3] = {{1, -2, 3.5f}, {0x1p-149f, 5, -0.0f}};
static const double moment[1] = {0.1};
static const int64_t step[1] = {INT64_MIN};
static const uint8_t bytes[2][1][2] = {{{0, 255}}, {{7, 8}}};
static const int32_t counts[3] = {-1, 0, INT32_MAX};

static const dpt_params_entry sample[] = {
    {"fc1.weight", DPT_PARAMS_PARAMETER, DPT_F32, 2, {2, 3}, weight},
    {"bn1.running_mean", DPT_PARAMS_STATE, DPT_F64, 1, {1}, moment},
    {"step", DPT_PARAMS_STATE, DPT_I64, 0, {0}, step},
    {"a", DPT_PARAMS_STATE, DPT_U8, 3, {2, 1, 2}, bytes},
    {"z", DPT_PARAMS_PARAMETER, DPT_I32, 1, {3}, counts},
};
enum { SAMPLE_COUNT = sizeof sample / sizeof *sample };

static void round_trip(void) {
    dpt_params_file *f;
    if (!CHECK_OK(dpt_params_file_write(at("a.h5"), "batch: 1\n", sample, SAMPLE_COUNT))) return;
    CHECK(access(at("a.h5.tmp"), F_OK) != 0);
    if (!CHECK_OK(dpt_params_file_open(at("a.h5"), &f))) return;
    CHECK_EQ_TEXT(dpt_params_file_config(f), "batch: 1\n");
    CHECK_EQ_TEXT(dpt_params_file_version(f), "0.1.0");
    const char *order[] = {"a", "bn1.running_mean", "fc1.weight", "step", "z"};
    if (CHECK_EQ_I64(dpt_params_file_count(f), SAMPLE_COUNT))
        for (int i = 0; i < SAMPLE_COUNT; i++) CHECK_EQ_TEXT(dpt_params_file_entry(f, i)->name, order[i]);
    for (int i = 0; i < SAMPLE_COUNT; i++) {
        const dpt_params_entry *found = dpt_params_file_find(f, sample[i].name);
        if (!CHECK(found != NULL)) continue;
        CHECK(found->kind == sample[i].kind && found->dtype == sample[i].dtype && found->ndim == sample[i].ndim);
        size_t size = dpt_dtype_size(sample[i].dtype);
        for (int d = 0; d < sample[i].ndim; d++) {
            CHECK_EQ_I64(found->dim[d], sample[i].dim[d]);
            size *= (size_t)sample[i].dim[d];
        }
        char values[64];
        if (CHECK_OK(dpt_params_file_read(f, &sample[i], values)))
            CHECK(memcmp(values, sample[i].data, size) == 0); /* bit for bit: -0 and denormals too */
    }
    CHECK(dpt_params_file_find(f, "fc1") == NULL);
    dpt_params_file_close(&f);
    CHECK(f == NULL);
    dpt_params_file_close(&f);
}

static void wrong_wish(void) {
    dpt_params_file *f;
    float values[6];
    if (!CHECK_OK(dpt_params_file_write(at("w.h5"), "", sample, SAMPLE_COUNT))) return;
    if (!CHECK_OK(dpt_params_file_open(at("w.h5"), &f))) return;
    dpt_params_entry e = {"fc2.weight", DPT_PARAMS_PARAMETER, DPT_F32, 2, {2, 3}, NULL};
    CHECK_FAILS(dpt_params_file_read(f, &e, values), DPT_ERR_DATA, "w.h5: no \"fc2.weight\" among its 5");
    e = (dpt_params_entry){"fc1.weight", DPT_PARAMS_PARAMETER, DPT_F32, 2, {3, 2}, NULL};
    CHECK_FAILS(dpt_params_file_read(f, &e, values), DPT_ERR_SHAPE,
                "\"fc1.weight\" is a parameter, f32 [2,3]; the model has a parameter, f32 [3,2]");
    e.ndim = 1;
    CHECK_FAILS(dpt_params_file_read(f, &e, values), DPT_ERR_SHAPE, "f32 [3]");
    e = sample[0];
    e.dtype = DPT_F64;
    CHECK_FAILS(dpt_params_file_read(f, &e, values), DPT_ERR_SHAPE, "f64 [2,3]");
    e = sample[0];
    e.kind = DPT_PARAMS_STATE;
    CHECK_FAILS(dpt_params_file_read(f, &e, values), DPT_ERR_SHAPE, "the model has a state");
    dpt_params_file_close(&f);
}

static void wrong_entries(void) {
    float x = 0;
    const dpt_params_entry twice[] = {{"a", DPT_PARAMS_PARAMETER, DPT_F32, 0, {0}, &x},
                                      {"a", DPT_PARAMS_STATE, DPT_F32, 0, {0}, &x}};
    const dpt_params_entry bad[] = {
        {"", DPT_PARAMS_PARAMETER, DPT_F32, 0, {0}, &x},  {"a/b", DPT_PARAMS_PARAMETER, DPT_F32, 0, {0}, &x},
        {".", DPT_PARAMS_PARAMETER, DPT_F32, 0, {0}, &x}, {"a", DPT_PARAMS_PARAMETER, DPT_F32, 9, {1}, &x},
        {"a", DPT_PARAMS_PARAMETER, DPT_F32, 1, {0}, &x}, {"a", DPT_PARAMS_PARAMETER, (dpt_dtype)99, 0, {0}, &x}};
    CHECK_FAILS(dpt_params_file_write(at("twice.h5"), "", twice, 2), DPT_ERR_ARG, "\"a\" comes twice");
    for (int i = 0; i < 6; i++)
        CHECK_FAILS(dpt_params_file_write(at("bad.h5"), "", &bad[i], 1), DPT_ERR_ARG, "bad.h5 cannot be written: \"");
    CHECK(access(at("bad.h5"), F_OK) != 0 && access(at("bad.h5.tmp"), F_OK) != 0);
}

static int64_t file_bytes(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (int64_t)about.st_size : -1;
}

/* The whole file; release with free. */
static char *content(const char *path, size_t *size) {
    *size = (size_t)file_bytes(path);
    char *text = malloc(*size);
    FILE *in = fopen(path, "rb");
    CHECK(in != NULL && fread(text, 1, *size, in) == *size);
    if (in) fclose(in);
    return text;
}

/* Two files of one content are equal, a second apart, since no clock enters them. */
static void same_bytes(void) {
    size_t first_size, second_size;
    CHECK_OK(dpt_params_file_write(at("one.h5"), "c", sample, SAMPLE_COUNT));
    sleep(1);
    CHECK_OK(dpt_params_file_write(at("two.h5"), "c", sample, SAMPLE_COUNT));
    char *first = content(at("one.h5"), &first_size), *second = content(at("two.h5"), &second_size);
    CHECK(first_size == second_size && memcmp(first, second, first_size) == 0);
    free(first);
    free(second);
}

/* A config of 200 kB does not fit an HDF5 attribute of the old kind (64 kB); 300 names do not fit one B-tree node. */
static void large(void) {
    enum { CONFIG = 200000, NAMES = 300 };
    char *config = malloc(CONFIG + 1), (*names)[32] = malloc(NAMES * sizeof *names);
    dpt_params_entry *e = calloc(NAMES, sizeof *e);
    memset(config, 'x', CONFIG);
    config[CONFIG] = '\0';
    for (int i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof names[i], "layer%d.weight", i);
        e[i] = sample[0];
        e[i].name = names[i];
    }
    dpt_params_file *f = NULL;
    CHECK_OK(dpt_params_file_write(at("large.h5"), config, e, NAMES));
    if (CHECK_OK(dpt_params_file_open(at("large.h5"), &f))) {
        CHECK_EQ_I64(dpt_params_file_count(f), NAMES);
        CHECK(strcmp(dpt_params_file_config(f), config) == 0);
        float values[6];
        CHECK_OK(dpt_params_file_read(f, &e[299], values));
        CHECK(memcmp(values, weight, sizeof weight) == 0);
    }
    dpt_params_file_close(&f);
    CHECK_OK(dpt_params_file_write(at("none.h5"), "", NULL, 0));
    if (CHECK_OK(dpt_params_file_open(at("none.h5"), &f))) CHECK_EQ_I64(dpt_params_file_count(f), 0);
    dpt_params_file_close(&f);
    free(config);
    free(names);
    free(e);
}

/* Cut anywhere, the file is refused, and no cut crashes. */
static void truncated(void) {
    dpt_params_file *f;
    size_t size;
    CHECK_OK(dpt_params_file_write(at("whole.h5"), "c", sample, SAMPLE_COUNT));
    char *text = content(at("whole.h5"), &size);
    for (size_t n = 0; n < size; n += n + 97 < size ? 97 : 1) {
        FILE *out = fopen(at("cut.h5"), "wb");
        fwrite(text, 1, n, out);
        fclose(out);
        if (!CHECK_FAILS(dpt_params_file_open(at("cut.h5"), &f), DPT_ERR_DATA, "cut.h5: ")) break;
        CHECK(f == NULL);
    }
    free(text);
    char words[64];
    snprintf(words, sizeof words, "truncated: %zu bytes of %zu", size - 1, size);
    CHECK_FAILS(dpt_params_file_open(at("cut.h5"), &f), DPT_ERR_DATA, words);
    CHECK_FAILS(dpt_params_file_open(at("nowhere.h5"), &f), DPT_ERR_IO, "nowhere.h5: No such file or directory");
}

/* Changes a valid file through HDF5 and opens it again. */
static void refuse_changed(void (*change)(hid_t file), dpt_status code, const char *message) {
    dpt_params_file *f;
    dpt_h5_scope scope;
    CHECK_OK(dpt_params_file_write(at("changed.h5"), "c", sample, 1));
    dpt_h5_enter(&scope);
    hid_t file = H5Fopen(at("changed.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    CHECK(file >= 0);
    change(file);
    CHECK(H5Fclose(file) >= 0);
    dpt_h5_leave(&scope);
    CHECK_FAILS(dpt_params_file_open(at("changed.h5"), &f), code, message);
    CHECK(f == NULL);
}

static void set_version(hid_t file, int32_t version) {
    hid_t a = H5Aopen(file, "format_version", H5P_DEFAULT);
    CHECK(H5Awrite(a, H5T_NATIVE_INT32, &version) >= 0);
    H5Aclose(a);
}

static void newer_version(hid_t file) { set_version(file, 2); }
static void zero_version(hid_t file) { set_version(file, 0); }
static void no_format(hid_t file) { H5Adelete(file, "format"); }
static void no_config(hid_t file) { H5Adelete(file, "config"); }
static void soft_link(hid_t file) { H5Lcreate_soft("/fc1.weight", file, "s", H5P_DEFAULT, H5P_DEFAULT); }
static void outer_link(hid_t file) { H5Lcreate_external("b.h5", "/x", file, "e", H5P_DEFAULT, H5P_DEFAULT); }
static void group(hid_t file) { H5Gclose(H5Gcreate2(file, "g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); }

static void other_format(hid_t file) {
    hid_t a = H5Aopen(file, "format", H5P_DEFAULT), type = H5Aget_type(a);
    CHECK(H5Awrite(a, type, "Params") >= 0);
    H5Tclose(type);
    H5Aclose(a);
}

static void text_version(hid_t file) {
    H5Adelete(file, "format_version");
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Aclose(H5Acreate2(file, "format_version", type, space, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Tclose(type);
}

/* Adds a dataset "x" of one dimension with this type and these properties, marked as a parameter. */
static void add_dataset(hid_t file, hid_t type, hsize_t n, hid_t properties) {
    hid_t space = H5Screate_simple(1, &n, NULL), scalar = H5Screate(H5S_SCALAR), text = H5Tcopy(H5T_C_S1);
    hid_t x = H5Dcreate2(file, "x", type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    CHECK(x >= 0);
    H5Tset_size(text, 10);
    hid_t a = H5Acreate2(x, "kind", text, scalar, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(a, text, "parameter");
    H5Aclose(a);
    H5Dclose(x);
    H5Tclose(text);
    H5Sclose(scalar);
    H5Sclose(space);
}

static void big_endian(hid_t file) { add_dataset(file, H5T_IEEE_F32BE, 4, H5P_DEFAULT); }
/* 8 TiB that the file does not hold */
static void hollow(hid_t file) { add_dataset(file, H5T_IEEE_F64LE, (hsize_t)1 << 40, H5P_DEFAULT); }

static void chunked(hid_t file) {
    hsize_t chunk = 2;
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(properties, 1, &chunk);
    add_dataset(file, H5T_IEEE_F32LE, 4, properties);
    H5Pclose(properties);
}

static void external(hid_t file) {
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(properties, "/etc/hostname", 0, 16);
    add_dataset(file, H5T_IEEE_F32LE, 4, properties);
    H5Pclose(properties);
}

static void foreign(void) {
    refuse_changed(newer_version, DPT_ERR_UNSUPPORTED,
                   "format version 2, written by dptrain 0.1.0, is newer than 1, the newest that dptrain 0.1.0 reads");
    refuse_changed(zero_version, DPT_ERR_DATA, "format version 0");
    refuse_changed(no_format, DPT_ERR_DATA, "changed.h5: attribute format is missing");
    refuse_changed(other_format, DPT_ERR_DATA, "attribute format is not \"params\"");
    refuse_changed(text_version, DPT_ERR_DATA, "attribute format_version is not one integer");
    refuse_changed(no_config, DPT_ERR_DATA, "attribute config is missing");
    refuse_changed(soft_link, DPT_ERR_UNSUPPORTED, "changed.h5: \"s\": is a link to elsewhere");
    refuse_changed(outer_link, DPT_ERR_UNSUPPORTED, "\"e\": is a link to elsewhere");
    refuse_changed(group, DPT_ERR_IO, "\"g\": ");
    refuse_changed(big_endian, DPT_ERR_UNSUPPORTED, "\"x\": the element type is none of f32");
    refuse_changed(chunked, DPT_ERR_UNSUPPORTED, "\"x\": not stored in one piece in this file");
    refuse_changed(external, DPT_ERR_UNSUPPORTED, "\"x\": not stored in one piece in this file");
    refuse_changed(hollow, DPT_ERR_DATA, "\"x\": 8796093022208 bytes of values are not all in the file");
}

/* A disk that is full: what stood there stays, nothing is left beside it, and the next write works. */
static void disk_full(void) {
    enum { ELEMENTS = 1 << 18 };
    struct rlimit before, small;
    dpt_params_file *f;
    float *values = calloc(ELEMENTS, sizeof *values);
    const dpt_params_entry e = {"w", DPT_PARAMS_PARAMETER, DPT_F32, 1, {ELEMENTS}, values};
    CHECK_OK(dpt_params_file_write(at("kept.h5"), "old", sample, 1));
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = before;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    dpt_status status = dpt_params_file_write(at("kept.h5"), "new", &e, 1);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_FAILS(status, DPT_ERR_IO, "kept.h5 cannot be written: ");
    CHECK(access(at("kept.h5.tmp"), F_OK) != 0);
    if (CHECK_OK(dpt_params_file_open(at("kept.h5"), &f))) CHECK_EQ_TEXT(dpt_params_file_config(f), "old");
    dpt_params_file_close(&f);
    CHECK_OK(dpt_params_file_write(at("kept.h5"), "new", &e, 1));
    CHECK_FAILS(dpt_params_file_write(at("none/p.h5"), "", &e, 1), DPT_ERR_IO, "none/p.h5 cannot be written: ");
    free(values);
}

/* h5dump sees plain little-endian datasets under their names. */
static void other_program(void) {
    char command[500], text[8192];
    if (system("command -v h5dump >/dev/null") != 0) return;
    CHECK_OK(dpt_params_file_write(at("dump.h5"), "batch: 1\n", sample, SAMPLE_COUNT));
    snprintf(command, sizeof command, "h5dump %s 2>&1", at("dump.h5"));
    FILE *dump = popen(command, "r");
    if (!CHECK(dump != NULL)) return;
    size_t n = fread(text, 1, sizeof text - 1, dump);
    text[n] = '\0';
    CHECK_EQ_I64(pclose(dump), 0);
    const char *wanted[] = {
        "DATASET \"fc1.weight\" {\n      DATATYPE  H5T_IEEE_F32LE\n      DATASPACE  SIMPLE { ( 2, 3 )",
        "(0,0): 1, -2, 3.5,",
        "DATASET \"step\" {\n      DATATYPE  H5T_STD_I64LE\n      "
        "DATASPACE  SCALAR",
        "ATTRIBUTE \"format_version\" {\n      DATATYPE  H5T_STD_I32LE",
        "(0): \"state\"",
        "(0): \"parameter\"",
        "(0): \"params\""};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        check_that(strstr(text, wanted[i]) != NULL, __FILE__, __LINE__, "h5dump does not show wanted[%zu]", i);
}

/* Fails the n-th allocation of writing or opening "m.h5", for every n; what stood there stays. */
static void sweep(bool write) {
    for (int64_t n = 1; n < 1000; n++) {
        dpt_params_file *f = NULL;
        dpt_alloc_fail_at(n);
        dpt_status status = write ? dpt_params_file_write(at("m.h5"), "new", sample, SAMPLE_COUNT)
                                  : dpt_params_file_open(at("m.h5"), &f);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) {
            CHECK(n > SAMPLE_COUNT);
            dpt_params_file_close(&f);
            return;
        }
        if (!CHECK_EQ_I64(status, DPT_ERR_MEMORY)) return;
        CHECK(f == NULL && access(at("m.h5.tmp"), F_OK) != 0);
        if (CHECK_OK(dpt_params_file_open(at("m.h5"), &f))) CHECK_EQ_TEXT(dpt_params_file_config(f), "c");
        dpt_params_file_close(&f);
    }
}

/* Whatever allocation fails, the status says so and nothing is left behind. */
static void no_memory(void) {
    CHECK_OK(dpt_params_file_write(at("m.h5"), "c", sample, SAMPLE_COUNT));
    sweep(false);
    sweep(true);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "params_file", {"round_trip", round_trip}, {"wrong_wish", wrong_wish},
                      {"wrong_entries", wrong_entries}, {"same_bytes", same_bytes}, {"large", large},
                      {"truncated", truncated}, {"foreign", foreign}, {"disk_full", disk_full},
                      {"other_program", other_program}, {"no_memory", no_memory});
}
