/* hdf5_output.c: see hdf5_output.h. Times of objects are not tracked and the format is fixed: both would change bytes.
 */
#include "data/hdf5_output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/hdf5_util.h"

/* Says which file, and which dataset once there is one. */
static dpt_status name_failure(const dpt_hdf5_output *output, dpt_status status) {
    if (status == DPT_OK) return DPT_OK;
    if (output->dataset_path) dpt_error_prefix(status, "%s: ", output->dataset_path);
    return dpt_error_prefix(status, "%s cannot be written: ", output->path);
}

static dpt_status create_file(const char *path, int64_t *file) {
    hid_t access = -1, creation = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(access = H5Pcreate(H5P_FILE_ACCESS)), fail);
    DPT_TRY_GOTO(DPT_H5(creation = H5Pcreate(H5P_FILE_CREATE)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_file_locking(access, 0, 1)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_obj_track_times(creation, 0)), fail);
    DPT_TRY_GOTO(DPT_H5(*file = H5Fcreate(path, H5F_ACC_TRUNC, creation, access)), fail);
fail:
    dpt_h5_close_properties(creation);
    dpt_h5_close_properties(access);
    return status;
}

dpt_status dpt_hdf5_output_open(dpt_hdf5_output *output, const char *path, const char *temporary) {
    *output = (dpt_hdf5_output){.file = -1, .dataset = -1};
    dpt_status status;
    output->path = dpt_strdup(path);
    DPT_CHECK_ALLOC_GOTO(output->path, fail);
    output->temporary = dpt_strdup(temporary);
    DPT_CHECK_ALLOC_GOTO(output->temporary, fail);
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    status = name_failure(output, create_file(temporary, &output->file));
    dpt_h5_leave(&scope);
    if (status == DPT_OK) return DPT_OK;
fail:
    dpt_hdf5_output_close(output);
    return status;
}

/* Groups without times: those that HDF5 makes by itself for a path have them. */
static dpt_status create_groups(hid_t file, const char *path) {
    char *so_far = dpt_strdup(path);
    DPT_CHECK_ALLOC(so_far);
    dpt_status status = DPT_OK;
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    if (H5Pset_obj_track_times(creation, 0) < 0) status = DPT_H5(-1);
    for (char *slash = strchr(so_far + 1, '/'); status == DPT_OK && slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (H5Lexists(file, so_far, H5P_DEFAULT) <= 0) {
            hid_t group = H5Gcreate2(file, so_far, H5P_DEFAULT, creation, H5P_DEFAULT);
            status = DPT_H5(group);
            if (group >= 0) H5Gclose(group);
        }
        *slash = '/';
    }
    dpt_h5_close_properties(creation);
    dpt_free(so_far);
    return status;
}

int64_t dpt_hdf5_output_type(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F32: return H5T_IEEE_F32LE;
        case DPT_F64: return H5T_IEEE_F64LE;
        case DPT_U8: return H5T_STD_U8LE;
        case DPT_I32: return H5T_STD_I32LE;
        case DPT_I64: return H5T_STD_I64LE;
        case DPT_BF16:
        case DPT_F16: break;
    }
    return -1;
}

/* HDF5 has no name for 16-bit floats: sign, 5 bits of exponent, 10 of fraction. */
static dpt_status create_type(dpt_stored stored, hid_t *type) {
    bool is_float = stored.kind == DPT_STORED_FLOAT, is_half = is_float && stored.bytes == 2;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(*type = H5Tcopy(!is_float && stored.kind == DPT_STORED_SIGNED ? H5T_STD_I64LE
                                        : !is_float                                   ? H5T_STD_U64LE
                                        : stored.bytes == 8                           ? H5T_IEEE_F64LE
                                                                                      : H5T_IEEE_F32LE)),
                 fail);
    if (is_half) DPT_TRY_GOTO(DPT_H5(H5Tset_fields(*type, 15, 10, 5, 0, 10)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Tset_size(*type, stored.bytes)), fail);
    if (is_half) DPT_TRY_GOTO(DPT_H5(H5Tset_ebias(*type, 15)), fail);
    if (stored.big_endian) DPT_TRY_GOTO(DPT_H5(H5Tset_order(*type, H5T_ORDER_BE)), fail);
fail:
    return status;
}

/* What pads the last chunk is written as 0: the same content, the same bytes. */
static dpt_status set_layout(hid_t creation, const dpt_hdf5_layout *layout, int ndim, const hsize_t *size) {
    hsize_t chunk[DPT_MAX_NDIM + 1];
    if (layout->reserve) return DPT_H5(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY));
    if (layout->chunk_rows == 0 || ndim == 0) return DPT_OK;
    memcpy(chunk, size, (size_t)ndim * sizeof *size);
    if ((hsize_t)layout->chunk_rows < chunk[0]) chunk[0] = (hsize_t)layout->chunk_rows;
    DPT_TRY(DPT_H5(H5Pset_chunk(creation, ndim, chunk)));
    DPT_TRY(DPT_H5(H5Pset_fill_time(creation, H5D_FILL_TIME_ALLOC)));
    if (layout->shuffle) DPT_TRY(DPT_H5(H5Pset_shuffle(creation)));
    if (layout->deflate) DPT_TRY(DPT_H5(H5Pset_deflate(creation, (unsigned)layout->deflate)));
    if (layout->fletcher32) DPT_TRY(DPT_H5(H5Pset_fletcher32(creation)));
    return DPT_OK;
}

static dpt_status create_dataset(const dpt_hdf5_output *output, dpt_stored stored, const dpt_hdf5_layout *layout,
                                 int64_t *dataset) {
    hsize_t size[DPT_MAX_NDIM + 1];
    for (int i = 0; i < output->ndim; i++) size[i] = (hsize_t)output->dim[i];
    hid_t space = -1, creation = -1, type = -1;
    dpt_status status;
    DPT_TRY_GOTO(create_groups(output->file, output->dataset_path), fail);
    DPT_TRY_GOTO(DPT_H5(space = H5Screate_simple(output->ndim, size, NULL)), fail);
    DPT_TRY_GOTO(DPT_H5(creation = H5Pcreate(H5P_DATASET_CREATE)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_obj_track_times(creation, 0)), fail);
    DPT_TRY_GOTO(set_layout(creation, layout, output->ndim, size), fail);
    DPT_TRY_GOTO(create_type(stored, &type), fail);
    DPT_TRY_GOTO(DPT_H5(*dataset = H5Dcreate2(output->file, output->dataset_path, type, space, H5P_DEFAULT, creation,
                                              H5P_DEFAULT)),
                 fail);
fail:
    if (type >= 0) H5Tclose(type);
    dpt_h5_close_properties(creation);
    dpt_h5_close_space(space);
    return status;
}

/* count 0: one value, without an axis. */
static dpt_status write_attribute(hid_t object, const char *name, hid_t stored, hid_t in_memory, int64_t count,
                                  const void *value) {
    hid_t space = -1, attribute = -1;
    const hsize_t size = (hsize_t)count;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(space = count ? H5Screate_simple(1, &size, NULL) : H5Screate(H5S_SCALAR)), fail);
    DPT_TRY_GOTO(DPT_H5(attribute = H5Acreate2(object, name, stored, space, H5P_DEFAULT, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Awrite(attribute, in_memory, value)), fail);
fail:
    if (attribute >= 0) H5Aclose(attribute);
    dpt_h5_close_space(space);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "attribute %s: ", name);
}

/* Texts of so many bytes, their ends included. */
static dpt_status write_texts(hid_t object, const char *name, size_t bytes, int64_t count, const char *text) {
    hid_t type = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(type = H5Tcopy(H5T_C_S1)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Tset_size(type, bytes)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Tset_cset(type, H5T_CSET_UTF8)), fail);
    DPT_TRY_GOTO(write_attribute(object, name, type, type, count, text), fail);
fail:
    if (type >= 0) H5Tclose(type);
    return status;
}

/* 16 digits, closed. */
enum { CHECKSUM_BYTES = 17 };

static dpt_status write_checksum(const dpt_hdf5_output *output) {
    char text[CHECKSUM_BYTES];
    snprintf(text, sizeof text, "%016" PRIx64, dpt_checksum_value(&output->sum));
    return write_texts(output->dataset, DPT_CHECKSUM_ATTRIBUTE, sizeof text, 0, text);
}

static dpt_status finish_dataset(dpt_hdf5_output *output) {
    hid_t dataset = output->dataset;
    if (dataset < 0) return DPT_OK;
    bool whole = output->sums && output->summed_rows == (output->ndim > 0 ? output->dim[0] : 1);
    dpt_status status = whole ? write_checksum(output) : DPT_OK;
    output->dataset = -1;
    output->sums = false;
    if (status == DPT_OK) return DPT_H5(H5Dclose(dataset));
    dpt_h5_close_dataset(dataset);
    return status;
}

dpt_status dpt_hdf5_output_stored(dpt_hdf5_output *output, const char *path, dpt_stored stored,
                                  const dpt_hdf5_layout *layout, int ndim, const int64_t *dim) {
    char *copy = dpt_strdup(path);
    DPT_CHECK_ALLOC(copy);
    dpt_free(output->dataset_path);
    output->dataset_path = copy;
    if (ndim < 0 || ndim > DPT_MAX_NDIM + 1)
        return name_failure(output, dpt_error(DPT_ERR_UNSUPPORTED, "%d axes", ndim));
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = finish_dataset(output);
    output->ndim = ndim;
    memcpy(output->dim, dim, (size_t)ndim * sizeof *dim);
    output->row_bytes = stored.bytes;
    for (int i = 1; i < ndim; i++) output->row_bytes *= dim[i];
    if (status == DPT_OK) status = create_dataset(output, stored, layout, &output->dataset);
    dpt_h5_leave(&scope);
    return name_failure(output, status);
}

dpt_status dpt_hdf5_output_dataset(dpt_hdf5_output *output, const char *path, dpt_dtype dtype, int ndim,
                                   const int64_t *dim) {
    DPT_CHECK(dtype != DPT_BF16, DPT_ERR_UNSUPPORTED, "%s: bf16 has no type in a file", path);
    return dpt_hdf5_output_stored(output, path, dpt_stored_of(dtype), &(dpt_hdf5_layout){0}, ndim, dim);
}

void dpt_hdf5_output_checksum(dpt_hdf5_output *output) {
    output->sums = true;
    output->summed_rows = 0;
    dpt_checksum_begin(&output->sum);
}

static dpt_status find_offset(const dpt_hdf5_output *output, int64_t *offset) {
    haddr_t at = H5Dget_offset(output->dataset);
    *offset = (int64_t)at;
    return at == HADDR_UNDEF ? dpt_h5_status(-1, "H5Dget_offset") : DPT_OK;
}

dpt_status dpt_hdf5_output_reserve(dpt_hdf5_output *output, const char *path, dpt_dtype dtype, int ndim,
                                   const int64_t *dim, int64_t *offset) {
    DPT_TRY(dpt_hdf5_output_stored(output, path, dpt_stored_of(dtype), &(dpt_hdf5_layout){.reserve = true}, ndim, dim));
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = find_offset(output, offset);
    dpt_h5_leave(&scope);
    return name_failure(output, status);
}

static dpt_status write_rows(const dpt_hdf5_output *output, int64_t first, int64_t count, const void *data) {
    hsize_t start[DPT_MAX_NDIM + 1] = {(hsize_t)first}, size[DPT_MAX_NDIM + 1];
    for (int i = 0; i < output->ndim; i++) size[i] = (hsize_t)output->dim[i];
    size[0] = (hsize_t)count;
    hid_t space = -1, memory = -1, type = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(space = H5Dget_space(output->dataset)), fail);
    if (output->ndim > 0)
        DPT_TRY_GOTO(DPT_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL)), fail);
    DPT_TRY_GOTO(DPT_H5(memory = H5Screate_simple(output->ndim, size, NULL)), fail);
    DPT_TRY_GOTO(DPT_H5(type = H5Dget_type(output->dataset)), fail); /* rows are given as they are stored */
    DPT_TRY_GOTO(DPT_H5(H5Dwrite(output->dataset, type, memory, space, H5P_DEFAULT, data)), fail);
fail:
    if (type >= 0) H5Tclose(type);
    dpt_h5_close_space(memory);
    dpt_h5_close_space(space);
    return status;
}

dpt_status dpt_hdf5_output_rows(dpt_hdf5_output *output, int64_t first, int64_t count, const void *data) {
    if (count == 0) return DPT_OK;
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = write_rows(output, first, count, data);
    dpt_h5_leave(&scope);
    if (output->sums && first != output->summed_rows) output->sums = false;
    if (status == DPT_OK && output->sums) {
        dpt_checksum_add(&output->sum, data, (size_t)(count * output->row_bytes));
        output->summed_rows += count;
    }
    if (status != DPT_OK)
        dpt_error_prefix(status, "rows %lld to %lld: ", (long long)first, (long long)(first + count - 1));
    return name_failure(output, status);
}

static dpt_status replace_checksum(const char *path, const char *dataset, const char *text) {
    hid_t access = -1, file = -1, set = -1, attribute = -1, type = -1;
    dpt_status status;
    DPT_TRY_GOTO(DPT_H5(access = H5Pcreate(H5P_FILE_ACCESS)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_file_locking(access, 0, 1)), fail);
    DPT_TRY_GOTO(DPT_H5(file = H5Fopen(path, H5F_ACC_RDWR, access)), fail);
    DPT_TRY_GOTO(DPT_H5(set = H5Dopen2(file, dataset, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(attribute = H5Aopen(set, DPT_CHECKSUM_ATTRIBUTE, H5P_DEFAULT)), fail);
    DPT_TRY_GOTO(DPT_H5(type = H5Aget_type(attribute)), fail);
    DPT_TRY_GOTO(DPT_H5(H5Awrite(attribute, type, text)), fail);
fail:
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    dpt_h5_close_dataset(set);
    if (file >= 0 && H5Fclose(file) < 0 && status == DPT_OK) status = dpt_h5_status(-1, "H5Fclose");
    dpt_h5_close_properties(access);
    return status;
}

dpt_status dpt_hdf5_output_seal(const char *path, const char *dataset, uint64_t checksum) {
    char text[CHECKSUM_BYTES];
    dpt_h5_scope scope;
    snprintf(text, sizeof text, "%016" PRIx64, checksum);
    dpt_h5_enter(&scope);
    dpt_status status = replace_checksum(path, dataset, text);
    dpt_h5_leave(&scope);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "%s cannot be written: %s: ", path, dataset);
}

static hid_t attribute_owner(const dpt_hdf5_output *output) {
    return output->dataset >= 0 ? output->dataset : output->file;
}

dpt_status dpt_hdf5_output_text(dpt_hdf5_output *output, const char *name, const char *text) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = write_texts(attribute_owner(output), name, strlen(text) + 1, 0, text);
    dpt_h5_leave(&scope);
    return name_failure(output, status);
}

dpt_status dpt_hdf5_output_texts(dpt_hdf5_output *output, const char *name, char *const *text, int64_t count) {
    size_t most = 0;
    for (int64_t i = 0; i < count; i++) most = strlen(text[i]) > most ? strlen(text[i]) : most;
    char *all = dpt_alloc_zero((size_t)count, most + 1);
    DPT_CHECK_ALLOC(all);
    for (int64_t i = 0; i < count; i++) memcpy(all + (size_t)i * (most + 1), text[i], strlen(text[i]));
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = write_texts(attribute_owner(output), name, most + 1, count, all);
    dpt_h5_leave(&scope);
    dpt_free(all);
    return name_failure(output, status);
}

dpt_status dpt_hdf5_output_i32(dpt_hdf5_output *output, const char *name, int32_t value) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = write_attribute(attribute_owner(output), name, H5T_STD_I32LE, H5T_NATIVE_INT32, 0, &value);
    dpt_h5_leave(&scope);
    return name_failure(output, status);
}

static dpt_status close_file(dpt_hdf5_output *output) {
    dpt_status status = finish_dataset(output);
    hid_t file = output->file;
    output->file = -1;
    if (status == DPT_OK) return DPT_H5(H5Fclose(file));
    dpt_h5_close_file(file);
    return status;
}

static dpt_status end_file(dpt_hdf5_output *output) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_status status = close_file(output);
    dpt_h5_leave(&scope);
    return name_failure(output, status);
}

dpt_status dpt_hdf5_output_leave(dpt_hdf5_output *output) {
    DPT_TRY(end_file(output));
    dpt_free(output->temporary);
    output->temporary = NULL;
    return DPT_OK;
}

dpt_status dpt_hdf5_output_commit(dpt_hdf5_output *output) {
    DPT_TRY(end_file(output));
    dpt_status status = dpt_file_commit(output->temporary, output->path);
    dpt_free(output->temporary); /* gone either way */
    output->temporary = NULL;
    return status;
}

void dpt_hdf5_output_close(dpt_hdf5_output *output) {
    dpt_h5_scope scope;
    dpt_h5_enter(&scope);
    dpt_h5_close_dataset(output->dataset);
    dpt_h5_close_file(output->file);
    dpt_h5_leave(&scope);
    if (output->temporary) unlink(output->temporary);
    dpt_free(output->path);
    dpt_free(output->temporary);
    dpt_free(output->dataset_path);
    *output = (dpt_hdf5_output){.file = -1, .dataset = -1};
}

/* ---- once ---- */

/* Makes every folder on the way to a file. */
static dpt_status make_folders(const char *path) {
    char *folder = dpt_strdup(path);
    DPT_CHECK_ALLOC(folder);
    dpt_status status = DPT_OK;
    for (char *slash = strchr(folder + 1, '/'); *folder && slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
            status = dpt_error(DPT_ERR_IO, "%s: %s", folder, strerror(errno));
            break;
        }
        *slash = '/';
    }
    dpt_free(folder);
    return status;
}

/* Who is done with the lock removes its file, so one who waited may hold a file that nobody else will find. */
static bool is_current(int descriptor, const char *name) {
    struct stat held, named;
    return fstat(descriptor, &held) == 0 && stat(name, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

/* *lock -1: a file system without locks. */
static dpt_status wait_for_lock(const char *name, int *lock) {
    for (;;) {
        int failed;
        const int descriptor = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        DPT_CHECK(descriptor >= 0, DPT_ERR_IO, "%s: %s", name, strerror(errno));
        do failed = flock(descriptor, LOCK_EX) != 0 ? errno : 0;
        while (failed == EINTR);
        if (failed == 0 && is_current(descriptor, name)) {
            *lock = descriptor;
            return DPT_OK;
        }
        close(descriptor);
        if (failed == 0) continue;
        const bool no_locks = failed == ENOLCK || failed == ENOSYS || failed == EOPNOTSUPP;
        DPT_CHECK(no_locks, DPT_ERR_IO, "%s: %s", name, strerror(failed));
        unlink(name);
        return DPT_OK;
    }
}

dpt_status dpt_hdf5_output_lock(const char *path, int *lock) {
    *lock = -1;
    DPT_TRY(make_folders(path));
    char *name = dpt_format("%s.lock", path);
    DPT_CHECK_ALLOC(name);
    const dpt_status status = wait_for_lock(name, lock);
    dpt_free(name);
    return status == DPT_OK ? DPT_OK : dpt_error_prefix(status, "%s cannot be written: ", path);
}

void dpt_hdf5_output_unlock(const char *path, int *lock) {
    if (*lock < 0) return;
    char *name = dpt_format("%s.lock", path);
    if (name) unlink(name); /* before others can have it */
    dpt_free(name);
    close(*lock);
    *lock = -1;
}

char *dpt_hdf5_output_own_name(const char *path) {
    char host[65] = "host";
    gethostname(host, sizeof host - 1);
    return dpt_format("%s.partial-%s-%ld", path, host, (long)getpid());
}

static dpt_status write_whole(const char *path, dpt_hdf5_fill fill, const void *what) {
    char *temporary = dpt_hdf5_output_own_name(path);
    DPT_CHECK_ALLOC(temporary);
    dpt_hdf5_output output;
    dpt_status status = dpt_hdf5_output_open(&output, path, temporary);
    dpt_free(temporary);
    DPT_TRY(status);
    DPT_TRY_GOTO(fill(&output, what), fail);
    DPT_TRY_GOTO(dpt_hdf5_output_commit(&output), fail);
fail:
    dpt_hdf5_output_close(&output);
    return status;
}

dpt_status dpt_hdf5_output_once(const char *path, dpt_hdf5_fill fill, const void *what) {
    int lock;
    if (access(path, F_OK) == 0) return DPT_OK;
    DPT_TRY(dpt_hdf5_output_lock(path, &lock));
    dpt_status status = access(path, F_OK) == 0 ? DPT_OK : write_whole(path, fill, what);
    dpt_hdf5_output_unlock(path, &lock);
    return status;
}
