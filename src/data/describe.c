/* describe.c: see describe.h. */
#include "data/describe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/chunk_lookup.h"
#include "data/hdf5_output.h"
#include "data/hdf5_util.h"
#include "data/layout_check.h"

/* ---- the paths ---- */

typedef struct listing {
    dpt_description *all;
    int64_t count, capacity;
    dpt_status status;
} listing;

static dpt_status add(listing *list, const char *name) {
    DPT_GROW(list->all, list->count, list->capacity);
    list->all[list->count] = (dpt_description){.path = dpt_format("/%s", name), .rows = -1};
    DPT_CHECK_ALLOC(list->all[list->count].path);
    list->count++;
    return DPT_OK;
}

/* H5Lvisit follows hard links alone, and each group once. */
static herr_t visit(hid_t group, const char *name, const H5L_info_t *link, void *user) {
    listing *list = user;
    if (link->type != H5L_TYPE_HARD) return 0;
    hid_t object = dpt_layout_check(group, name) == DPT_OK ? H5Oopen(group, name, H5P_DEFAULT) : -1;
    bool is_dataset = object < 0 || H5Iget_type(object) == H5I_DATASET; /* a bad one: opening it by its path says how */
    if (object >= 0) H5Oclose(object);
    if (is_dataset) list->status = add(list, name);
    return list->status == DPT_OK ? 0 : 1;
}

/* ---- one dataset ---- */

static void describe_shape(hid_t set, dpt_description *d) {
    hsize_t dim[H5S_MAX_RANK];
    hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    H5S_class_t class = space >= 0 ? H5Sget_simple_extent_type(space) : H5S_NO_CLASS;
    int ndim = class == H5S_SIMPLE ? H5Sget_simple_extent_dims(space, dim, NULL) : 0;
    uint64_t bytes = type >= 0 ? H5Tget_size(type) : 0;
    bool over = false;
    size_t n =
        dpt_append(d->shape, sizeof d->shape, 0, "%s", class == H5S_SIMPLE || class == H5S_SCALAR ? "[" : "none");
    for (int i = 0; i < ndim; i++) {
        n = dpt_append(d->shape, sizeof d->shape, n, i ? ",%llu" : "%llu", (unsigned long long)dim[i]);
        over |= __builtin_mul_overflow(bytes, (uint64_t)dim[i], &bytes);
    }
    if (d->shape[0] == '[') dpt_append(d->shape, sizeof d->shape, n, "]");
    if (ndim > 0 && dim[0] <= INT64_MAX) d->rows = (int64_t)dim[0];
    d->declared_bytes = over ? UINT64_MAX : d->shape[0] == '[' ? bytes : 0;
    if (type >= 0) H5Tclose(type);
    dpt_h5_close_space(space);
}

static size_t add_filters(hid_t properties, char *text, size_t bytes, size_t n) {
    int count = H5Pget_nfilters(properties);
    for (int i = 0; i < count; i++) {
        unsigned flags = 0, value[1] = {0};
        size_t values = 1;
        char name[64] = "";
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &values, value, sizeof name, name, NULL);
        name[sizeof name - 1] = 0;
        switch (filter) {
            case H5Z_FILTER_DEFLATE: n = dpt_append(text, bytes, n, ", deflate %u", value[0]); break;
            case H5Z_FILTER_SHUFFLE: n = dpt_append(text, bytes, n, ", shuffle"); break;
            case H5Z_FILTER_FLETCHER32: n = dpt_append(text, bytes, n, ", fletcher32"); break;
            default: n = dpt_append(text, bytes, n, ", filter %d%s%s", (int)filter, name[0] ? " " : "", name);
        }
    }
    return n;
}

static void describe_storage(hid_t set, dpt_description *d) {
    hid_t properties = H5Dget_create_plist(set);
    hsize_t chunk[H5S_MAX_RANK];
    char *text = d->storage;
    const size_t bytes = sizeof d->storage;
    size_t n;
    switch (properties >= 0 ? H5Pget_layout(properties) : H5D_LAYOUT_ERROR) {
        case H5D_COMPACT: dpt_append(text, bytes, 0, "compact"); break;
        case H5D_CONTIGUOUS:
            dpt_append(text, bytes, 0, H5Pget_external_count(properties) > 0 ? "in other files" : "contiguous");
            break;
        case H5D_CHUNKED:
            n = dpt_append(text, bytes, 0, "chunks [");
            for (int i = 0, ndim = H5Pget_chunk(properties, H5S_MAX_RANK, chunk); i < ndim; i++)
                n = dpt_append(text, bytes, n, i ? ",%llu" : "%llu", (unsigned long long)chunk[i]);
            n = dpt_append(text, bytes, n, "]");
            add_filters(properties, text, bytes, n);
            break;
        case H5D_VIRTUAL: dpt_append(text, bytes, 0, "in other datasets (virtual)"); break;
        default: dpt_append(text, bytes, 0, "in an unknown way");
    }
    if (properties >= 0 && H5Pget_layout(properties) != H5D_VIRTUAL) d->stored_bytes = H5Dget_storage_size(set);
    dpt_h5_close_properties(properties);
}

/* 16 digits, as hdf5_output.c writes them; anything else is none. */
static void find_checksum(hid_t set, dpt_description *d) {
    char text[18] = "", *end = text;
    if (H5Aexists(set, DPT_CHECKSUM_ATTRIBUTE) <= 0) return;
    hid_t attribute = H5Aopen(set, DPT_CHECKSUM_ATTRIBUTE, H5P_DEFAULT);
    if (attribute < 0) return;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool fits = type >= 0 && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
                H5Tget_size(type) < sizeof text && space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (fits && H5Aread(attribute, type, text) >= 0 && strspn(text, "0123456789abcdef") == 16) {
        d->checksum = strtoull(text, &end, 16);
        d->has_checksum = *end == 0;
    }
    dpt_h5_close_space(space);
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
}

dpt_status dpt_describe(const char *file, dpt_description **datasets, int64_t *count) {
    listing list = {.status = DPT_OK};
    hid_t handle = -1;
    dpt_h5_scope scope;
    *datasets = NULL;
    *count = 0;
    dpt_h5_enter(&scope);
    dpt_status status;
    DPT_TRY_GOTO(dpt_chunk_lookup_open(file, &handle), fail);
    herr_t visited = H5Lvisit(handle, H5_INDEX_NAME, H5_ITER_INC, visit, &list);
    DPT_TRY_GOTO(list.status, fail);
    if (visited < 0) {
        char reason[256];
        dpt_h5_reason(reason, sizeof reason);
        status = dpt_error(DPT_ERR_DATA, "%s: its groups cannot be read: %s", file, reason);
        goto fail;
    }
    for (int64_t i = 0; i < list.count; i++) {
        bool good = dpt_layout_check(handle, list.all[i].path) == DPT_OK;
        hid_t set = good ? H5Dopen2(handle, list.all[i].path, H5P_DEFAULT) : -1;
        if (set < 0) continue;
        describe_shape(set, &list.all[i]);
        describe_storage(set, &list.all[i]);
        find_checksum(set, &list.all[i]);
        dpt_h5_close_dataset(set);
    }
    *datasets = list.all;
    *count = list.count;
    list = (listing){.status = DPT_OK};
fail:
    dpt_h5_close_file(handle);
    dpt_h5_leave(&scope);
    dpt_describe_free(list.all, list.count);
    return status;
}

void dpt_describe_free(dpt_description *datasets, int64_t count) {
    for (int64_t i = 0; i < count; i++) dpt_free(datasets[i].path);
    dpt_free(datasets);
}
