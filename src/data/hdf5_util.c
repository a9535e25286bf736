/* hdf5_util.c: see hdf5_util.h. */
#include "data/hdf5_util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_once_t started = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void start(void) {
    H5dont_atexit();
    H5PLset_loading_state(0);
}

void dpt_h5_enter(dpt_h5_scope *scope) {
    pthread_mutex_lock(&lock);
    pthread_once(&started, start);
    H5Eget_auto2(H5E_DEFAULT, &scope->print, &scope->print_data);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void dpt_h5_leave(const dpt_h5_scope *scope) {
    H5Eset_auto2(H5E_DEFAULT, scope->print, scope->print_data);
    pthread_mutex_unlock(&lock);
}

static herr_t innermost(unsigned n, const H5E_error2_t *error, void *text) {
    (void)n;
    if (error->desc != NULL) *(const char **)text = error->desc;
    return 1; /* stop at the first, which is the deepest when walking upward */
}

/* Of a failed system call HDF5 tells time, addresses and sizes, on two lines: what failed and the system's words are
 * kept, "file write failed: No space left on device". */
static void keep_cause(char *text) {
    static const char before[] = "error message = '";
    char *details = strchr(text, ':'), *cause = strstr(text, before);
    if (details == NULL || cause == NULL || details > cause) return;
    cause += sizeof before - 1;
    size_t n = strcspn(cause, "'");
    memmove(details + 2, cause, n);
    details[1] = ' ';
    details[2 + n] = '\0';
}

void dpt_h5_reason(char *text, size_t bytes) {
    const char *reason = "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
    snprintf(text, bytes, "%s", reason);
    keep_cause(text);
}

dpt_status dpt_h5_status(int64_t result, const char *call) {
    if (result >= 0) return DPT_OK;
    char reason[512];
    dpt_h5_reason(reason, sizeof reason);
    return dpt_error(DPT_ERR_IO, "%s: %s", call, reason[0] ? reason : "failed");
}

/* The system's reason first: HDF5's own text for a missing file is long and says little. */
static dpt_status check_readable(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(fd >= 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    struct stat about;
    int failed = fstat(fd, &about);
    close(fd);
    DPT_CHECK(!failed, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    DPT_CHECK(S_ISREG(about.st_mode), DPT_ERR_DATA, "%s: not a regular file", path);
    return DPT_OK;
}

static dpt_status open_failed(const char *path) {
    char reason[512];
    dpt_h5_reason(reason, sizeof reason);
    unsigned long long actual, base, declared;
    if (sscanf(reason, "truncated file: eof = %llu, sblock->base_addr = %llu, stored_eof = %llu", &actual, &base,
               &declared) == 3)
        return dpt_error(DPT_ERR_DATA, "%s: truncated: %llu bytes of %llu", path, actual, declared + base);
    if (H5Fis_hdf5(path) == 0) return dpt_error(DPT_ERR_DATA, "%s: not an HDF5 file", path);
    return dpt_error(DPT_ERR_DATA, "%s: damaged or truncated: HDF5 says: %s", path, reason);
}

dpt_status dpt_h5_open_with(const char *path, hid_t access, hid_t *file) {
    *file = -1;
    DPT_TRY(check_readable(path));
    DPT_TRY(DPT_H5(H5Pset_file_locking(access, 0, 1)));
    *file = H5Fopen(path, H5F_ACC_RDONLY, access);
    return *file < 0 ? open_failed(path) : DPT_OK;
}

dpt_status dpt_h5_open(const char *path, hid_t *file) {
    *file = -1;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    DPT_TRY(DPT_H5(access));
    dpt_status status = dpt_h5_open_with(path, access, file);
    dpt_h5_close_properties(access);
    return status;
}

hid_t dpt_h5_type(dpt_dtype dtype) {
    switch (dtype) {
        case DPT_F32: return H5T_NATIVE_FLOAT;
        case DPT_F64: return H5T_NATIVE_DOUBLE;
        case DPT_U8: return H5T_NATIVE_UINT8;
        case DPT_I32: return H5T_NATIVE_INT32;
        case DPT_I64: return H5T_NATIVE_INT64;
        case DPT_BF16:
        case DPT_F16: break;
    }
    return -1;
}

void dpt_h5_close_file(hid_t file) {
    if (file >= 0) H5Fclose(file);
}

void dpt_h5_close_dataset(hid_t dataset) {
    if (dataset >= 0) H5Dclose(dataset);
}

void dpt_h5_close_space(hid_t space) {
    if (space >= 0) H5Sclose(space);
}

void dpt_h5_close_properties(hid_t properties) {
    if (properties >= 0) H5Pclose(properties);
}
