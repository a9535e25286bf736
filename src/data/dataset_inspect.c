/* dataset_inspect.c: one dataset of one file, taken with suspicion: a file may name other files (links, external and
 * virtual storage), declare terabytes that it does not hold, or call for code (filters). Each check names what it
 * found; only what passes all of them reaches a reader. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "data/dataset_index.h"
#include "data/hdf5_util.h"

enum { MAX_PATH_BYTES = 1024, MAX_LISTED = 12 };
static const uint64_t MAX_CHUNK_BYTES = 64 << 20;

typedef struct listing {
    char text[600];
    size_t length;
    int count;
} listing;

static herr_t list_dataset(hid_t group, const char *name, const H5L_info_t *link, void *user) {
    listing *all = user;
    if (link->type != H5L_TYPE_HARD) return 0;
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
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
    hid_t object = H5Oopen(file, path, H5P_DEFAULT);
    DPT_TRY(DPT_H5(object));
    if (H5Iget_type(object) == H5I_DATASET) {
        *dataset = object;
        return DPT_OK;
    }
    H5Oclose(object);
    return missing(file);
}

static dpt_status refuse_type(hid_t type) {
    static const char *const classes[] = {"integer",  "float",     "time", "string",          "bitfield", "opaque",
                                          "compound", "reference", "enum", "variable-length", "array"};
    H5T_class_t class = H5Tget_class(type);
    const char *name = class >= 0 && class <= H5T_ARRAY ? classes[class] : "unknown";
    if (class != H5T_INTEGER && class != H5T_FLOAT)
        return dpt_error(DPT_ERR_UNSUPPORTED, "elements of type %s are not supported", name);
    const char *sign = class == H5T_FLOAT ? "" : H5Tget_sign(type) == H5T_SGN_NONE ? "unsigned " : "signed ";
    const char *order = H5Tget_order(type) == H5T_ORDER_BE ? ", big-endian" : "";
    return dpt_error(DPT_ERR_UNSUPPORTED, "elements of type %s%zu-bit %s%s are not supported", sign,
                     8 * H5Tget_size(type), name, order);
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

static dpt_status check_filters(hid_t properties) {
    int count = H5Pget_nfilters(properties);
    DPT_TRY(DPT_H5(count));
    for (int i = 0; i < count; i++) {
        unsigned flags = 0;
        size_t values = 0;
        char name[64] = "";
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &values, NULL, sizeof name, name, NULL);
        DPT_TRY(DPT_H5(filter));
        bool allowed = filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32;
        DPT_CHECK(allowed, DPT_ERR_UNSUPPORTED, "filter %d%s%s is not supported (only shuffle, fletcher32, deflate)",
                  (int)filter, name[0] ? " " : "", name);
    }
    return DPT_OK;
}

static dpt_status check_chunks(hid_t dataset, hid_t properties, const hsize_t *dim, dpt_found *found) {
    hsize_t chunk[DPT_MAX_NDIM + 1] = {0}, stored = 0;
    int ndim = found->ndim + 1;
    DPT_TRY(check_filters(properties));
    DPT_TRY(DPT_H5(H5Pget_chunk(properties, ndim, chunk)));
    uint64_t bytes = found->stored.bytes, chunks = 1;
    bool over = false;
    for (int i = 0; i < ndim; i++) {
        DPT_CHECK(chunk[i] > 0, DPT_ERR_DATA, "axis %d of its chunks has size 0", i);
        over |= __builtin_mul_overflow(bytes, (uint64_t)chunk[i], &bytes);
        over |= __builtin_mul_overflow(chunks, (uint64_t)(dim[i] / chunk[i] + (dim[i] % chunk[i] != 0)), &chunks);
    }
    DPT_CHECK(!over && bytes <= MAX_CHUNK_BYTES, DPT_ERR_UNSUPPORTED,
              "chunks of %llu bytes; at most %llu are supported", over ? ~0ull : (unsigned long long)bytes,
              (unsigned long long)MAX_CHUNK_BYTES);
    found->part.chunk_dim[0] = chunk[0];
    hid_t space = H5Dget_space(dataset);
    DPT_TRY(DPT_H5(space));
    dpt_status status = DPT_H5(H5Dget_num_chunks(dataset, space, &stored));
    H5Sclose(space);
    DPT_TRY(status);
    DPT_CHECK(stored == chunks, DPT_ERR_DATA, "%llu of its %llu chunks are stored", (unsigned long long)stored,
              (unsigned long long)chunks);
    return DPT_OK;
}

static dpt_status check_contiguous(hid_t dataset, hid_t properties, uint64_t file_bytes, dpt_found *found) {
    int external = H5Pget_external_count(properties);
    DPT_TRY(DPT_H5(external));
    DPT_CHECK(external == 0, DPT_ERR_UNSUPPORTED, "its values lie in %d other files (external storage)", external);
    uint64_t bytes = found->rows * found->row_bytes;
    if (bytes == 0) return DPT_OK;
    haddr_t offset = H5Dget_offset(dataset);
    DPT_CHECK(offset != HADDR_UNDEF, DPT_ERR_DATA, "declares %llu bytes, none is stored", (unsigned long long)bytes);
    DPT_CHECK(offset <= file_bytes && bytes <= file_bytes - offset, DPT_ERR_DATA,
              "declares %llu bytes from byte %llu, the file ends at byte %llu", (unsigned long long)bytes,
              (unsigned long long)offset, (unsigned long long)file_bytes);
    found->part.offset = offset;
    return DPT_OK;
}

static dpt_status check_storage(hid_t dataset, uint64_t file_bytes, const hsize_t *dim, dpt_found *found) {
    hid_t properties = H5Dget_create_plist(dataset);
    DPT_TRY(DPT_H5(properties));
    dpt_status status;
    switch (H5Pget_layout(properties)) {
        case H5D_CONTIGUOUS:
            found->part.storage = DPT_STORAGE_CONTIGUOUS;
            status = check_contiguous(dataset, properties, file_bytes, found);
            break;
        case H5D_CHUNKED:
            found->part.storage = DPT_STORAGE_CHUNKED;
            status = check_chunks(dataset, properties, dim, found);
            break;
        case H5D_COMPACT:
            found->part.storage = DPT_STORAGE_COMPACT;
            status = H5Dget_storage_size(dataset) == found->rows * found->row_bytes
                         ? DPT_OK
                         : dpt_error(DPT_ERR_DATA, "compact storage of another size than declared");
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
    DPT_TRY_GOTO(check_storage(dataset, file_bytes, dim, found), fail);
fail:
    dpt_h5_close_dataset(dataset);
    if (status != DPT_OK) dpt_error_prefix(status, "%s: %s: ", file_path, path);
    return status;
}
