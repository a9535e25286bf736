/* dataset_inspect.c: one dataset of one file, taken with suspicion: a file may name other files (links, external and
 * virtual storage), declare terabytes that it does not hold, or call for code (filters). Each check names what it
 * found; only what passes all of them reaches a reader. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/chunk_lookup.h"
#include "data/dataset_index.h"
#include "data/hdf5_util.h"
#include "data/layout_check.h"

enum { MAX_PATH_BYTES = 1024, MAX_LISTED = 12, MAX_FILTER_VALUES = 8 };

typedef struct listing {
    char text[600];
    size_t length;
    int count;
} listing;

static herr_t list_dataset(hid_t group, const char *name, const H5L_info_t *link, void *user) {
    listing *all = user;
    if (link->type != H5L_TYPE_HARD) return 0;
    hid_t object = dpt_layout_check(group, name) == DPT_OK ? H5Oopen(group, name, H5P_DEFAULT) : -1;
    if (object < 0) return 0;
    bool is_dataset = H5Iget_type(object) == H5I_DATASET;
    H5Oclose(object);
    if (!is_dataset) return 0;
    if (all->count++ == MAX_LISTED) {
        all->length = dpt_append(all->text, sizeof all->text, all->length, ", ...");
        return 1;
    }
    const char *comma = all->count > 1 ? ", " : "";
    all->length = dpt_append(all->text, sizeof all->text, all->length, "%s/%s", comma, name);
    return 0;
}

static dpt_status missing(hid_t file) {
    listing all = {.count = 0};
    H5Lvisit(file, H5_INDEX_NAME, H5_ITER_INC, list_dataset, &all);
    return dpt_error(DPT_ERR_DATA, "no such dataset; the file holds %s", all.count ? all.text : "none");
}

/* Every part of the path is a hard link, so it ends in this file. */
static dpt_status check_links(hid_t file, const char *path) {
    char so_far[MAX_PATH_BYTES];
    size_t bytes = strlen(path);
    DPT_CHECK(bytes > 0 && bytes < sizeof so_far, DPT_ERR_ARG, "a dataset path of %zu bytes", bytes);
    for (size_t i = 1; i <= bytes; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        memcpy(so_far, path, i);
        so_far[i] = 0;
        H5L_info_t link;
        if (H5Lexists(file, so_far, H5P_DEFAULT) <= 0) return missing(file);
        DPT_TRY(DPT_H5(H5Lget_info(file, so_far, &link, H5P_DEFAULT)));
        DPT_CHECK(link.type == H5L_TYPE_HARD, DPT_ERR_UNSUPPORTED, "%s is a soft or external link", so_far);
    }
    return DPT_OK;
}

static dpt_status open_dataset(hid_t file, const char *path, hid_t *dataset) {
    *dataset = -1;
    DPT_TRY(check_links(file, path));
    DPT_TRY(dpt_layout_check(file, path));
    hid_t object = H5Oopen(file, path, H5P_DEFAULT);
    DPT_TRY(dpt_h5_status(object, "cannot be opened"));
    if (H5Iget_type(object) == H5I_DATASET) {
        *dataset = object;
        return DPT_OK;
    }
    H5Oclose(object);
    return missing(file);
}

/* Integers and floats, where the reason lies in their bits. */
static dpt_status refuse_number(hid_t type, bool is_float) {
    size_t bytes = H5Tget_size(type), bits = H5Tget_precision(type);
    size_t sign = 0, exponent_at = 0, exponent = 0, mantissa_at = 0, mantissa = 0;
    const char *name = is_float ? "float" : H5Tget_sign(type) == H5T_SGN_NONE ? "unsigned integer" : "signed integer";
    H5T_order_t order = H5Tget_order(type);
    DPT_CHECK(bytes == 1 || order == H5T_ORDER_LE || order == H5T_ORDER_BE, DPT_ERR_UNSUPPORTED,
              "elements of type %s in neither little- nor big-endian byte order are not supported", name);
    DPT_CHECK(bits == 8 * bytes, DPT_ERR_UNSUPPORTED, "elements of type %s with %zu bits used of %zu are not supported",
              name, bits, 8 * bytes);
    if (is_float) H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa);
    DPT_CHECK(!is_float || (bytes != 2 && bytes != 4 && bytes != 8), DPT_ERR_UNSUPPORTED,
              "elements of type %zu-bit float are supported in the form of IEEE 754 alone (here %zu bits of exponent, "
              "%zu of mantissa)",
              bits, exponent, mantissa);
    return dpt_error(DPT_ERR_UNSUPPORTED, "elements of type %zu-bit %s are not supported", bits, name);
}

static dpt_status refuse_type(hid_t type) {
    static const char *const classes[] = {"integer",  "float",     "time", "string",          "bitfield", "opaque",
                                          "compound", "reference", "enum", "variable-length", "array"};
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_INTEGER || class == H5T_FLOAT) return refuse_number(type, class == H5T_FLOAT);
    return dpt_error(DPT_ERR_UNSUPPORTED, "elements of type %s are not supported",
                     class >= 0 && class <= H5T_ARRAY ? classes[class] : "unknown");
}

/* IEEE 754 with all bits in their places: 16 bits have no name in HDF5, and a type may say anything of its parts. */
static bool is_ieee(hid_t type, size_t bytes) {
    static const struct { size_t bytes, exponent, mantissa; } known[] = {{2, 5, 10}, {4, 8, 23}, {8, 11, 52}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t sign, exponent_at, exponent, mantissa_at, mantissa;
        if (known[i].bytes != bytes) continue;
        if (H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa) < 0) return false;
        return sign == 8 * bytes - 1 && mantissa_at == 0 && exponent_at == mantissa && exponent == known[i].exponent &&
               mantissa == known[i].mantissa && H5Tget_norm(type) == H5T_NORM_IMPLIED &&
               H5Tget_ebias(type) == ((size_t)1 << (exponent - 1)) - 1;
    }
    return false;
}

static bool read_type(hid_t type, dpt_stored *stored) {
    H5T_class_t class = H5Tget_class(type);
    size_t bytes = H5Tget_size(type);
    H5T_order_t order = H5Tget_order(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT) return false;
    if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return false;
    if (H5Tget_precision(type) != 8 * bytes || H5Tget_offset(type) != 0 || bytes > 8) return false;
    if (class == H5T_FLOAT && !is_ieee(type, bytes)) return false;
    dpt_stored_kind integer = H5Tget_sign(type) == H5T_SGN_NONE ? DPT_STORED_UNSIGNED : DPT_STORED_SIGNED;
    *stored = (dpt_stored){.kind = (uint8_t)(class == H5T_FLOAT ? DPT_STORED_FLOAT : integer),
                           .bytes = (uint8_t)bytes,
                           .big_endian = bytes > 1 && order == H5T_ORDER_BE};
    return dpt_stored_valid(*stored);
}

static dpt_status check_type(hid_t dataset, dpt_found *found) {
    hid_t type = H5Dget_type(dataset);
    DPT_TRY(DPT_H5(type));
    dpt_status status = read_type(type, &found->stored) ? DPT_OK : refuse_type(type);
    H5Tclose(type);
    return status;
}

/* Rows, sample shape and their sizes, all within 63 bits. */
static dpt_status check_sizes(hid_t dataset, hsize_t *dim, dpt_found *found) {
    hid_t space = H5Dget_space(dataset);
    DPT_TRY(DPT_H5(space));
    int ndim = H5Sget_simple_extent_type(space) == H5S_SIMPLE ? H5Sget_simple_extent_ndims(space) : 0;
    if (ndim >= 1 && ndim <= DPT_MAX_NDIM + 1) H5Sget_simple_extent_dims(space, dim, NULL);
    H5Sclose(space);
    DPT_CHECK(ndim >= 1, DPT_ERR_SHAPE, "has no axis of samples");
    DPT_CHECK(ndim <= DPT_MAX_NDIM + 1, DPT_ERR_UNSUPPORTED, "has %d axes; at most %d are supported", ndim,
              DPT_MAX_NDIM + 1);
    found->rows = dim[0];
    found->ndim = ndim - 1;
    int64_t elements = 1, row_bytes, bytes;
    bool over = false;
    for (int i = 0; i < found->ndim; i++) {
        DPT_CHECK(dim[i + 1] > 0, DPT_ERR_SHAPE, "axis %d of its samples has size 0", i);
        over |= dim[i + 1] > INT64_MAX || __builtin_mul_overflow(elements, (int64_t)dim[i + 1], &elements);
        found->dim[i] = (int64_t)dim[i + 1];
    }
    over |= __builtin_mul_overflow(elements, (int64_t)found->stored.bytes, &row_bytes);
    over |= found->rows > INT64_MAX || __builtin_mul_overflow(row_bytes, (int64_t)found->rows, &bytes);
    DPT_CHECK(!over, DPT_ERR_DATA, "declares more than 2^63 bytes");
    found->elements = elements;
    found->row_bytes = (uint64_t)row_bytes;
    return DPT_OK;
}

static dpt_status check_filter(hid_t properties, int i, dpt_pipeline *pipeline) {
    unsigned flags = 0, value[MAX_FILTER_VALUES] = {0};
    size_t values = MAX_FILTER_VALUES;
    char name[64] = "";
    H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &values, value, sizeof name, name, NULL);
    DPT_TRY(DPT_H5(filter));
    bool allowed = filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32;
    DPT_CHECK(allowed, DPT_ERR_UNSUPPORTED, "filter %d%s%s is not supported (only shuffle, fletcher32, deflate)",
              (int)filter, name[0] ? " " : "", name);
    pipeline->filter[i] = (uint8_t)filter;
    if (filter != H5Z_FILTER_SHUFFLE) return DPT_OK;
    bool same = pipeline->element_bytes == 0 || pipeline->element_bytes == value[0];
    DPT_CHECK(values >= 1 && value[0] > 0 && same, DPT_ERR_DATA, "its shuffle filter is for elements of %u bytes",
              value[0]);
    pipeline->element_bytes = value[0];
    return DPT_OK;
}

static dpt_status check_filters(hid_t properties, dpt_pipeline *pipeline) {
    int count = H5Pget_nfilters(properties);
    DPT_TRY(DPT_H5(count));
    DPT_CHECK(count <= DPT_MAX_FILTERS, DPT_ERR_UNSUPPORTED, "%d filters; at most %d are supported", count,
              DPT_MAX_FILTERS);
    pipeline->count = count;
    for (int i = 0; i < count; i++) DPT_TRY(check_filter(properties, i, pipeline));
    return DPT_OK;
}

/* The table, chunk by chunk in the order of the grid. whole_only: those that reach over an end are stored as they are,
 * without filters. */
static dpt_status read_table(hid_t file, hid_t dataset, bool whole_only, const hsize_t *dim, dpt_found *found) {
    dpt_index_part *part = &found->part;
    uint64_t at[DPT_MAX_NDIM + 1] = {0};
    part->chunk = dpt_alloc_zero(part->chunks, sizeof *part->chunk);
    DPT_CHECK_ALLOC(part->chunk);
    for (uint64_t i = 0; i < part->chunks; i++) {
        hsize_t start[DPT_MAX_NDIM + 1];
        bool over = false;
        for (int k = 0; k <= found->ndim; k++) {
            start[k] = at[k] * part->chunk_dim[k];
            over |= part->chunk_dim[k] > dim[k] - start[k];
        }
        dpt_status status = dpt_chunk_lookup(file, dataset, start, &part->chunk[i]);
        if (status != DPT_OK) return dpt_error_prefix(status, "chunk %llu: ", (unsigned long long)i);
        if (whole_only && over) part->chunk[i].mask = UINT32_MAX;
        for (int k = found->ndim; k >= 0 && ++at[k] == part->grid[k]; k--) at[k] = 0;
    }
    return DPT_OK;
}

static dpt_status check_chunks(hid_t file, hid_t dataset, hid_t properties, uint64_t file_bytes, const hsize_t *dim,
                               dpt_found *found) {
    dpt_index_part *part = &found->part;
    hsize_t chunk[DPT_MAX_NDIM + 1] = {0}, stored = 0;
    unsigned options = 0;
    DPT_TRY(check_filters(properties, &part->pipeline));
    DPT_TRY(DPT_H5(H5Pget_chunk(properties, found->ndim + 1, chunk)));
    DPT_TRY(DPT_H5(H5Pget_chunk_opts(properties, &options)));
    for (int k = 0; k <= found->ndim; k++) part->chunk_dim[k] = chunk[k];
    DPT_TRY(dpt_index_grid(part, found->rows, found->ndim, found->dim, found->stored.bytes));
    DPT_CHECK(part->chunks <= file_bytes, DPT_ERR_DATA, "declares %llu chunks in a file of %llu bytes",
              (unsigned long long)part->chunks, (unsigned long long)file_bytes);
    hid_t space = H5Dget_space(dataset);
    DPT_TRY(DPT_H5(space));
    dpt_status status = DPT_H5(H5Dget_num_chunks(dataset, space, &stored));
    H5Sclose(space);
    DPT_TRY(status);
    DPT_CHECK(stored == part->chunks, DPT_ERR_DATA, "%llu of its %llu chunks are stored", (unsigned long long)stored,
              (unsigned long long)part->chunks);
    return read_table(file, dataset, options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, dim, found);
}

/* They lie in the header of the dataset, 64 kB at most, and are kept. */
static dpt_status read_compact(hid_t dataset, dpt_found *found) {
    uint64_t bytes = found->rows * found->row_bytes;
    DPT_CHECK(H5Dget_storage_size(dataset) == bytes && bytes <= UINT16_MAX, DPT_ERR_DATA,
              "compact storage of another size than declared");
    found->part.values = dpt_alloc_zero(bytes, 1);
    DPT_CHECK_ALLOC(found->part.values);
    if (bytes == 0) return DPT_OK;
    hid_t type = H5Dget_type(dataset); /* as it is stored */
    DPT_TRY(DPT_H5(type));
    dpt_status status = DPT_H5(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, found->part.values));
    H5Tclose(type);
    return status;
}

static dpt_status check_contiguous(hid_t dataset, hid_t properties, dpt_found *found) {
    int external = H5Pget_external_count(properties);
    DPT_TRY(DPT_H5(external));
    DPT_CHECK(external == 0, DPT_ERR_UNSUPPORTED, "its values lie in %d other files (external storage)", external);
    uint64_t bytes = found->rows * found->row_bytes;
    if (bytes == 0) return DPT_OK;
    haddr_t offset = H5Dget_offset(dataset);
    DPT_CHECK(offset != HADDR_UNDEF, DPT_ERR_DATA, "declares %llu bytes, none is stored", (unsigned long long)bytes);
    found->part.offset = offset;
    return DPT_OK;
}

static dpt_status check_storage(hid_t file, hid_t dataset, uint64_t file_bytes, const hsize_t *dim, dpt_found *found) {
    hid_t properties = H5Dget_create_plist(dataset);
    DPT_TRY(DPT_H5(properties));
    dpt_status status;
    switch (H5Pget_layout(properties)) {
        case H5D_CONTIGUOUS:
            found->part.storage = DPT_STORAGE_CONTIGUOUS;
            status = check_contiguous(dataset, properties, found);
            break;
        case H5D_CHUNKED:
            found->part.storage = DPT_STORAGE_CHUNKED;
            status = check_chunks(file, dataset, properties, file_bytes, dim, found);
            break;
        case H5D_COMPACT:
            found->part.storage = DPT_STORAGE_COMPACT;
            status = read_compact(dataset, found);
            break;
        case H5D_VIRTUAL:
            status = dpt_error(DPT_ERR_UNSUPPORTED, "its values lie in other datasets (virtual storage)");
            break;
        default: status = dpt_error(DPT_ERR_UNSUPPORTED, "unknown storage layout");
    }
    H5Pclose(properties);
    return status;
}

dpt_status dpt_index_inspect(int64_t file, const char *file_path, uint64_t file_bytes, const char *path,
                             dpt_found *found) {
    *found = (dpt_found){.rows = 0};
    hid_t dataset = -1;
    hsize_t dim[DPT_MAX_NDIM + 1] = {0};
    dpt_status status;
    DPT_TRY_GOTO(open_dataset(file, path, &dataset), fail);
    DPT_TRY_GOTO(check_type(dataset, found), fail);
    DPT_TRY_GOTO(check_sizes(dataset, dim, found), fail);
    DPT_TRY_GOTO(check_storage(file, dataset, file_bytes, dim, found), fail);
    DPT_TRY_GOTO(dpt_index_check_part(&found->part, found->rows, found->row_bytes, file_bytes), fail);
fail:
    dpt_h5_close_dataset(dataset);
    if (status == DPT_OK) return DPT_OK;
    dpt_index_part_clear(&found->part);
    return dpt_error_prefix(status, "%s: %s: ", file_path, path);
}
