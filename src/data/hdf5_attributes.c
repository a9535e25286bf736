/* hdf5_attributes.c: attributes from one file to another (hdf5_output.h): units, names of classes, what a user wrote
 * there. They pass as they are stored; what points into the file that they come from would point nowhere. */
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "data/chunk_lookup.h"
#include "data/hdf5_output.h"
#include "data/hdf5_util.h"

enum { MOST_BYTES = 64 << 10 };

typedef struct attribute {
    hid_t from, type, space, to;
    void *value;
} attribute;

static bool is_copied(const attribute *a, const char *name) {
    return strcmp(name, DPT_CHECKSUM_ATTRIBUTE) != 0 && H5Tdetect_class(a->type, H5T_REFERENCE) == 0 &&
           H5Aget_storage_size(a->from) <= MOST_BYTES;
}

static dpt_status copy_value(attribute *a, hid_t target, const char *name) {
    hssize_t count = H5Sget_simple_extent_npoints(a->space);
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(count), fail);
    a->value = dpt_alloc_zero((size_t)count + 1, H5Tget_size(a->type));
    DPT_CHECK_ALLOC_GOTO(a->value, fail);
    DPT_TRY_GOTO(DPT_H5(H5Aread(a->from, a->type, a->value)), fail);
    status = DPT_H5(a->to = H5Acreate2(target, name, a->type, a->space, H5P_DEFAULT, H5P_DEFAULT));
    if (status == DPT_OK) status = DPT_H5(H5Awrite(a->to, a->type, a->value));
    H5Dvlen_reclaim(a->type, a->space, H5P_DEFAULT, a->value); /* texts and lists, of HDF5's own memory */
fail:
    return status;
}

static dpt_status copy_one(hid_t source, const char *name, hid_t target) {
    attribute a = {.from = -1, .type = -1, .space = -1, .to = -1};
    hid_t stored = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(a.from = H5Aopen(source, name, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(stored = H5Aget_type(a.from)), fail);
    DPT_TRY_GOTO(DPT_H5(a.type = H5Tcopy(stored)), fail); /* a type with a name belongs to its file */
    DPT_TRY_GOTO(DPT_H5(a.space = H5Aget_space(a.from)), fail);
    if (is_copied(&a, name)) status = copy_value(&a, target, name);
fail:
    if (a.to >= 0) H5Aclose(a.to);
    if (a.from >= 0) H5Aclose(a.from);
    if (a.type >= 0) H5Tclose(a.type);
    if (stored >= 0) H5Tclose(stored);
    dpt_h5_close_space(a.space);
    dpt_free(a.value);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "attribute %s: ", name);
}

typedef struct copying {
    hid_t target;
    dpt_status status;
} copying;

static herr_t visit(hid_t source, const char *name, const H5A_info_t *about, void *user) {
    copying *c = user;
    (void)about;
    c->status = copy_one(source, name, c->target);
    return c->status == DPT_OK ? 0 : 1;
}

/* By our own driver, as whatever else is read of files of others (chunk_lookup.h). */
static dpt_status copy_all(const char *path, const char *dataset, hid_t target) {
    copying c = {.target = target};
    hid_t file = -1, source = -1;
    hsize_t at = 0;
    dpt_status status;
    DPT_TRY_GOTO(dpt_chunk_lookup_open(path, &file), fail);
    DPT_TRY_GOTO(DPT_H5(source = H5Dopen2(file, dataset, H5P_DEFAULT)), fail);
    status = DPT_H5(H5Aiterate2(source, H5_INDEX_NAME, H5_ITER_INC, &at, visit, &c));
    if (c.status != DPT_OK) status = c.status;
fail:
    dpt_h5_close_dataset(source);
    dpt_h5_close_file(file);
    return status;
}

dpt_status dpt_hdf5_output_attributes(dpt_hdf5_output *output, const char *path, const char *dataset) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = copy_all(path, dataset, output->dataset);
    dpt_h5_leave(&scope);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "%s from %s: ", dataset, path);
}
