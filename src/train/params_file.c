/* params_file.c: see params_file.h. Writing goes through hdf5_output.h. Every function of reading that calls HDF5 runs
 * inside a scope (hdf5_util.h) that the public functions enter and leave. */
#include "train/params_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/hdf5_output.h"
#include "data/hdf5_util.h"

enum { LARGEST_TEXT = 16 << 20 };

struct dpt_params_file {
    char *path, *config, *version;
    hid_t file;
    int64_t bytes; /* of the file */
    dpt_params_entry *entry;
    int64_t count, capacity;
    dpt_status status; /* of the walk through the links, which HDF5 calls back */
};

static const char *kind_text(dpt_params_kind kind) { return kind == DPT_PARAMS_STATE ? "state" : "parameter"; }

static void close_attribute(hid_t attribute) {
    if (attribute >= 0) H5Aclose(attribute);
}

static void close_type(hid_t type) {
    if (type >= 0) H5Tclose(type);
}

/* ---- writing ---- */

static dpt_status check_entry(const dpt_params_entry *e) {
    DPT_CHECK(e->name != NULL && e->name[0] != '\0' && strchr(e->name, '/') == NULL && strcmp(e->name, ".") != 0,
              DPT_ERR_ARG, "\"%s\" cannot be the name of a parameter", e->name ? e->name : "");
    DPT_CHECK(dpt_dtype_size(e->dtype) > 0, DPT_ERR_ARG, "\"%s\": dtype %d", e->name, (int)e->dtype);
    DPT_CHECK(e->ndim >= 0 && e->ndim <= DPT_MAX_NDIM, DPT_ERR_ARG, "\"%s\": %d dimensions", e->name, e->ndim);
    for (int i = 0; i < e->ndim; i++)
        DPT_CHECK(e->dim[i] > 0, DPT_ERR_ARG, "\"%s\": dimension %d is %lld", e->name, i, (long long)e->dim[i]);
    return DPT_OK;
}

static dpt_status check_entries(const dpt_params_entry *entries, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        DPT_TRY(check_entry(&entries[i]));
        for (int64_t k = 0; k < i; k++)
            DPT_CHECK(strcmp(entries[k].name, entries[i].name) != 0, DPT_ERR_ARG, "\"%s\" comes twice",
                      entries[i].name);
    }
    return DPT_OK;
}

static dpt_status write_entry(dpt_hdf5_output *out, const dpt_params_entry *e) {
    DPT_TRY(dpt_hdf5_output_dataset(out, e->name, e->dtype, e->ndim, e->dim));
    DPT_TRY(dpt_hdf5_output_rows(out, 0, e->ndim > 0 ? e->dim[0] : 1, e->data));
    return dpt_hdf5_output_text(out, "kind", kind_text(e->kind));
}

static dpt_status write_content(dpt_hdf5_output *out, const char *config, const dpt_params_entry *entries,
                                int64_t count) {
    DPT_TRY(dpt_hdf5_output_text(out, "format", "params"));
    DPT_TRY(dpt_hdf5_output_i32(out, "format_version", DPT_PARAMS_FORMAT_VERSION));
    DPT_TRY(dpt_hdf5_output_text(out, "dptrain_version", dpt_version()));
    DPT_TRY(dpt_hdf5_output_text(out, "config", config));
    for (int64_t i = 0; i < count; i++) DPT_TRY(write_entry(out, &entries[i]));
    return DPT_OK;
}

dpt_status dpt_params_file_write(const char *path, const char *config, const dpt_params_entry *entries, int64_t count) {
    dpt_status status = check_entries(entries, count);
    if (status != DPT_OK) return dpt_error_prefix(status, "%s cannot be written: ", path);
    char *temporary = dpt_format("%s.tmp", path);
    DPT_CHECK_ALLOC(temporary);
    dpt_hdf5_output out;
    status = dpt_hdf5_output_open(&out, path, temporary);
    dpt_free(temporary);
    DPT_TRY(status);
    DPT_TRY_GOTO(write_content(&out, config, entries, count), fail);
    DPT_TRY_GOTO(dpt_hdf5_output_commit(&out), fail);
fail:
    dpt_hdf5_output_close(&out);
    return status;
}

/* ---- reading ---- */

/* Opens a scalar attribute of that class and its type. */
static dpt_status open_attribute(hid_t object, const char *name, H5T_class_t class, hid_t *attribute, hid_t *type) {
    hid_t space = -1;
    dpt_status status = DPT_OK;
    *attribute = *type = -1;
    DPT_CHECK(H5Aexists(object, name) > 0, DPT_ERR_DATA, "attribute %s is missing", name);
    DPT_TRY_GOTO(DPT_H5(*attribute = H5Aopen(object, name, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(*type = H5Aget_type(*attribute)), fail);
    DPT_TRY_GOTO(DPT_H5(space = H5Aget_space(*attribute)), fail);
    DPT_CHECK_GOTO(H5Tget_class(*type) == class && H5Sget_simple_extent_npoints(space) == 1, fail, DPT_ERR_DATA,
                   "attribute %s is not one %s", name, class == H5T_STRING ? "text" : "integer");
fail:
    dpt_h5_close_space(space);
    return status;
}

/* *text: release with dpt_free. */
static dpt_status read_text(hid_t object, const char *name, char **text) {
    hid_t attribute, type;
    char *made = NULL;
    dpt_status status;
    *text = NULL;
    DPT_TRY_GOTO(open_attribute(object, name, H5T_STRING, &attribute, &type), fail);
    size_t bytes = H5Tget_size(type);
    DPT_CHECK_GOTO(H5Tis_variable_str(type) == 0 && bytes > 0 && bytes <= LARGEST_TEXT, fail, DPT_ERR_DATA,
                   "attribute %s is not a text of fixed length up to %d bytes", name, LARGEST_TEXT);
    made = dpt_alloc_zero(bytes + 1, 1);
    DPT_CHECK_ALLOC_GOTO(made, fail);
    DPT_TRY_GOTO(DPT_H5(H5Aread(attribute, type, made)), fail);
    *text = made;
    made = NULL;
fail:
    dpt_free(made);
    close_type(type);
    close_attribute(attribute);
    return status;
}

static dpt_status read_integer(hid_t object, const char *name, int64_t *value) {
    hid_t attribute, type;
    dpt_status status;
    DPT_TRY_GOTO(open_attribute(object, name, H5T_INTEGER, &attribute, &type), fail);
    DPT_TRY_GOTO(DPT_H5(H5Aread(attribute, H5T_NATIVE_INT64, value)), fail);
fail:
    close_type(type);
    close_attribute(attribute);
    return status;
}

static dpt_status read_header(dpt_params_file *f) {
    char *format;
    int64_t version = 0;
    DPT_TRY(read_text(f->file, "format", &format));
    bool is_params = strcmp(format, "params") == 0;
    dpt_free(format);
    DPT_CHECK(is_params, DPT_ERR_DATA, "attribute format is not \"params\"");
    DPT_TRY(read_text(f->file, "dptrain_version", &f->version));
    DPT_TRY(read_integer(f->file, "format_version", &version));
    DPT_CHECK(version <= DPT_PARAMS_FORMAT_VERSION, DPT_ERR_UNSUPPORTED,
              "format version %lld, written by dptrain %s, is newer than %d, the newest that dptrain %s reads",
              (long long)version, f->version, DPT_PARAMS_FORMAT_VERSION, dpt_version());
    DPT_CHECK(version >= 1, DPT_ERR_DATA, "format version %lld", (long long)version);
    return read_text(f->file, "config", &f->config);
}

static dpt_status read_kind(hid_t dataset, dpt_params_kind *kind) {
    char *text;
    DPT_TRY(read_text(dataset, "kind", &text));
    *kind = strcmp(text, "state") == 0 ? DPT_PARAMS_STATE : DPT_PARAMS_PARAMETER;
    dpt_status status = DPT_OK;
    if (strcmp(text, kind_text(*kind)) != 0) status = dpt_error(DPT_ERR_DATA, "attribute kind is \"%s\"", text);
    dpt_free(text);
    return status;
}

static dpt_status read_dtype(hid_t dataset, dpt_dtype *dtype) {
    hid_t type = H5Dget_type(dataset);
    DPT_TRY(DPT_H5(type));
    int d = 0;
    while (d < DPT_DTYPE_COUNT && H5Tequal(type, dpt_hdf5_output_type((dpt_dtype)d)) <= 0) d++;
    close_type(type);
    DPT_CHECK(d < DPT_DTYPE_COUNT, DPT_ERR_UNSUPPORTED,
              "the element type is none of f32, f64, u8, i32, i64 (little-endian)");
    *dtype = (dpt_dtype)d;
    return DPT_OK;
}

static dpt_status read_shape(hid_t dataset, dpt_params_entry *e, uint64_t *bytes) {
    hsize_t dim[H5S_MAX_RANK];
    hid_t space = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(space = H5Dget_space(dataset)), fail);
    int ndim = H5Sget_simple_extent_dims(space, dim, NULL);
    DPT_CHECK_GOTO(ndim >= 0 && ndim <= DPT_MAX_NDIM && H5Sget_simple_extent_type(space) != H5S_NULL, fail,
                   DPT_ERR_UNSUPPORTED, "%d dimensions; 0 to %d are read", ndim, DPT_MAX_NDIM);
    *bytes = dpt_dtype_size(e->dtype);
    e->ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        DPT_CHECK_GOTO(dim[i] <= INT64_MAX && !__builtin_mul_overflow(*bytes, (uint64_t)dim[i], bytes), fail,
                       DPT_ERR_DATA, "dimension %d is %llu", i, (unsigned long long)dim[i]);
        e->dim[i] = (int64_t)dim[i];
    }
fail:
    dpt_h5_close_space(space);
    return status;
}

/* The values stand in this file, in one piece, and the file holds all of them. */
static dpt_status check_storage(const dpt_params_file *f, hid_t dataset, uint64_t bytes) {
    hid_t properties = H5Dget_create_plist(dataset);
    DPT_TRY(DPT_H5(properties));
    H5D_layout_t layout = H5Pget_layout(properties);
    int external = H5Pget_external_count(properties);
    dpt_h5_close_properties(properties);
    DPT_CHECK((layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) && external == 0, DPT_ERR_UNSUPPORTED,
              "not stored in one piece in this file");
    if (layout == H5D_COMPACT || bytes == 0) return DPT_OK;
    haddr_t offset = H5Dget_offset(dataset);
    DPT_CHECK(offset != HADDR_UNDEF && offset <= (uint64_t)f->bytes && bytes <= (uint64_t)f->bytes - offset,
              DPT_ERR_DATA, "%llu bytes of values are not all in the file of %lld bytes", (unsigned long long)bytes,
              (long long)f->bytes);
    return DPT_OK;
}

static dpt_status add_entry(dpt_params_file *f, const char *name, const H5L_info_t *link) {
    uint64_t bytes = 0;
    hid_t dataset = -1;
    dpt_status status = DPT_OK;
    DPT_GROW(f->entry, f->count, f->capacity);
    dpt_params_entry e = {0};
    DPT_CHECK_GOTO(link->type == H5L_TYPE_HARD, fail, DPT_ERR_UNSUPPORTED, "is a link to elsewhere");
    DPT_TRY_GOTO(DPT_H5(dataset = H5Dopen2(f->file, name, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(read_kind(dataset, &e.kind), fail);
    DPT_TRY_GOTO(read_dtype(dataset, &e.dtype), fail);
    DPT_TRY_GOTO(read_shape(dataset, &e, &bytes), fail);
    DPT_TRY_GOTO(check_storage(f, dataset, bytes), fail);
    e.name = dpt_strdup(name);
    DPT_CHECK_ALLOC_GOTO(e.name, fail);
    f->entry[f->count++] = e;
fail:
    if (status != DPT_OK && status != DPT_ERR_MEMORY) dpt_error_prefix(status, "\"%s\": ", name);
    dpt_h5_close_dataset(dataset);
    return status;
}

static herr_t visit_link(hid_t group, const char *name, const H5L_info_t *link, void *file) {
    (void)group;
    dpt_params_file *f = file;
    f->status = add_entry(f, name, link);
    return f->status == DPT_OK ? 0 : 1; /* 1 ends the walk without an error of HDF5's own */
}

static dpt_status open_file(dpt_params_file *f) {
    struct stat about;
    dpt_status status;
    DPT_TRY(dpt_h5_open(f->path, &f->file));
    DPT_CHECK(stat(f->path, &about) == 0, DPT_ERR_IO, "%s: %s", f->path, strerror(errno));
    f->bytes = about.st_size;
    DPT_TRY_GOTO(read_header(f), fail);
    status = DPT_H5(H5Literate(f->file, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_link, f));
    if (f->status != DPT_OK) status = f->status;
fail:
    if (status != DPT_OK && status != DPT_ERR_MEMORY) dpt_error_prefix(status, "%s: ", f->path);
    return status;
}

dpt_status dpt_params_file_open(const char *path, dpt_params_file **file) {
    *file = NULL;
    dpt_params_file *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = DPT_OK;
    made->file = -1;
    made->path = dpt_strdup(path);
    DPT_CHECK_ALLOC_GOTO(made->path, fail);
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    status = open_file(made);
    dpt_h5_leave(&scope);
    if (status != DPT_OK) goto fail;
    *file = made;
    return DPT_OK;
fail:
    dpt_params_file_close(&made);
    return status;
}

void dpt_params_file_close(dpt_params_file **file) {
    dpt_params_file *f = *file;
    if (f == NULL) return;
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_h5_close_file(f->file);
    dpt_h5_leave(&scope);
    for (int64_t i = 0; i < f->count; i++) dpt_free((char *)(uintptr_t)f->entry[i].name);
    dpt_free(f->entry);
    dpt_free(f->path);
    dpt_free(f->config);
    dpt_free(f->version);
    dpt_free(f);
    *file = NULL;
}

const char *dpt_params_file_config(const dpt_params_file *file) { return file->config; }
const char *dpt_params_file_version(const dpt_params_file *file) { return file->version; }
int64_t dpt_params_file_count(const dpt_params_file *file) { return file->count; }
const dpt_params_entry *dpt_params_file_entry(const dpt_params_file *file, int64_t i) { return &file->entry[i]; }

const dpt_params_entry *dpt_params_file_find(const dpt_params_file *file, const char *name) {
    for (int64_t i = 0; i < file->count; i++)
        if (strcmp(file->entry[i].name, name) == 0) return &file->entry[i];
    return NULL;
}

static dpt_status check_wanted(const dpt_params_file *file, const dpt_params_entry *wanted) {
    const dpt_params_entry *found = dpt_params_file_find(file, wanted->name);
    DPT_CHECK(found != NULL, DPT_ERR_DATA, "%s: no \"%s\" among its %lld parameters and states", file->path,
              wanted->name, (long long)file->count);
    bool same = found->kind == wanted->kind && found->dtype == wanted->dtype && found->ndim == wanted->ndim;
    for (int i = 0; same && i < found->ndim; i++) same = found->dim[i] == wanted->dim[i];
    if (same) return DPT_OK;
    char is[128], should_be[128];
    dpt_dims_text(is, sizeof is, found->ndim, found->dim);
    dpt_dims_text(should_be, sizeof should_be, wanted->ndim, wanted->dim);
    return dpt_error(DPT_ERR_SHAPE, "%s: \"%s\" is a %s, %s %s; the model has a %s, %s %s", file->path, wanted->name,
                     kind_text(found->kind), dpt_dtype_text(found->dtype), is, kind_text(wanted->kind),
                     dpt_dtype_text(wanted->dtype), should_be);
}

dpt_status dpt_params_file_read(const dpt_params_file *file, const dpt_params_entry *wanted, void *data) {
    dpt_h5_scope scope;
    hid_t dataset = -1;
    dpt_status status;
    DPT_TRY(check_wanted(file, wanted));
    dpt_h5_enter(&scope);
    DPT_TRY_GOTO(DPT_H5(dataset = H5Dopen2(file->file, wanted->name, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Dread(dataset, dpt_h5_type(wanted->dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, data)), fail);
fail:
    dpt_h5_close_dataset(dataset);
    dpt_h5_leave(&scope);
    if (status != DPT_OK) dpt_error_prefix(status, "%s: \"%s\": ", file->path, wanted->name);
    return status;
}
