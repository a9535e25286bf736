/* chunk_lookup.c: HDF5 1.10 and 1.12 tell where a chunk lies only by going through the chunks of its dataset one by one
 * (H5Dget_chunk_info, and _by_coord): a table of n chunks made that way takes n^2 steps. H5Dread_chunk finds a chunk by
 * its index, in log n steps. So files are opened with a driver of our own that reads as HDF5's does, except during a
 * look-up: then raw data are not read, their place and size are noted. Later versions have another form of drivers;
 * with them chunks are asked for one by one.
 *
 * Invariant: during a look-up the driver writes nothing to the buffer of raw data, which has no room. */
#include "data/chunk_lookup.h"

#if H5_VERSION_GE(1, 13, 0)

dpt_status dpt_chunk_lookup_open(const char *path, hid_t *file) { return dpt_h5_open(path, file); }

dpt_status dpt_chunk_lookup(hid_t file, hid_t dataset, const hsize_t *start, dpt_index_chunk *chunk) {
    unsigned mask = 0;
    haddr_t offset = HADDR_UNDEF;
    hsize_t bytes = 0, before = 0;
    hid_t created = H5Fget_create_plist(file);
    DPT_TRY(DPT_H5(created));
    dpt_status status = DPT_H5(H5Pget_userblock(created, &before));
    H5Pclose(created);
    DPT_TRY(status);
    /* versions differ in whether they count from the start of the file or from behind the block */
    DPT_CHECK(before == 0, DPT_ERR_UNSUPPORTED,
              "with this version of HDF5 chunks in a file with a user block are not supported");
    DPT_TRY(DPT_H5(H5Dget_chunk_info_by_coord(dataset, start, &mask, &offset, &bytes)));
    DPT_CHECK(offset != HADDR_UNDEF, DPT_ERR_DATA, "is not stored");
    DPT_CHECK(bytes <= UINT32_MAX, DPT_ERR_DATA, "declares %llu bytes", (unsigned long long)bytes);
    *chunk = (dpt_index_chunk){.offset = offset, .bytes = (uint32_t)bytes, .mask = mask};
    return DPT_OK;
}

dpt_status dpt_chunk_lookup_content(hid_t file, uint64_t file_bytes, dpt_content *content) {
    (void)file, (void)file_bytes;
    *content = (dpt_content){0};
    return DPT_OK;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

typedef struct observed {
    H5FD_t head; /* HDF5's own */
    int descriptor;
    haddr_t allocated, size;
    bool noting;
    int notes; /* reads of raw data while noting; the last one: */
    haddr_t offset;
    size_t bytes;
    dpt_content content; /* what was read that is no raw data */
    bool forgotten;      /* some of it: out of memory */
} observed;

static int refuse(const char *what) {
    H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_READERROR, "%s: %s", what,
             strerror(errno));
    return -1;
}

/* What a file is opened with: HDF5 passes no reason on. */
typedef struct request {
    bool *no_memory;
} request;

static H5FD_t *open_observed(const char *path, unsigned flags, hid_t access, haddr_t most) {
    (void)flags, (void)most;
    const request *asked = H5Pget_driver_info(access);
    struct stat about;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    bool opened = descriptor >= 0 && fstat(descriptor, &about) == 0;
    observed *f = opened ? dpt_alloc_zero(1, sizeof *f) : NULL;
    if (f) {
        f->descriptor = descriptor;
        f->size = (haddr_t)about.st_size;
        return &f->head;
    }
    refuse("open");
    if (asked) *asked->no_memory = opened;
    if (descriptor >= 0) close(descriptor);
    return NULL;
}

static herr_t close_observed(H5FD_t *head) {
    observed *f = (observed *)head;
    close(f->descriptor);
    dpt_content_free(&f->content);
    dpt_free(f);
    return 0;
}

static herr_t tell_features(const H5FD_t *head, unsigned long *flags) {
    (void)head;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t get_allocated(const H5FD_t *head, H5FD_mem_t type) {
    (void)type;
    return ((const observed *)head)->allocated;
}

static herr_t set_allocated(H5FD_t *head, H5FD_mem_t type, haddr_t size) {
    (void)type;
    ((observed *)head)->allocated = size;
    return 0;
}

static haddr_t get_size(const H5FD_t *head, H5FD_mem_t type) {
    (void)type;
    return ((const observed *)head)->size;
}

static herr_t get_handle(H5FD_t *head, hid_t access, void **handle) {
    (void)access;
    *handle = head;
    return 0;
}

/* Bytes past the end of the file are zero, as with HDF5's own driver. */
static herr_t read_observed(H5FD_t *head, H5FD_mem_t type, hid_t transfer, haddr_t offset, size_t bytes, void *out) {
    (void)transfer;
    observed *f = (observed *)head;
    if (f->noting && type == H5FD_MEM_DRAW) {
        f->notes++;
        f->offset = offset;
        f->bytes = bytes;
        return 0;
    }
    if (type != H5FD_MEM_DRAW && !dpt_content_note(&f->content, offset, bytes)) f->forgotten = true;
    for (char *to = out; bytes > 0;) {
        ssize_t n = pread(f->descriptor, to, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return refuse("read");
        if (n == 0) memset(to, 0, bytes);
        size_t done = n == 0 ? bytes : (size_t)n;
        to += done;
        offset += done;
        bytes -= done;
    }
    return 0;
}

static herr_t write_observed(H5FD_t *head, H5FD_mem_t type, hid_t transfer, haddr_t offset, size_t bytes,
                             const void *in) {
    (void)head, (void)type, (void)transfer, (void)offset, (void)bytes, (void)in;
    errno = EROFS;
    return refuse("write");
}

/* Registered once, and for good: H5FD_close gives back its hold on the driver of a file before it looks there for how
 * to close the file, so that a driver which nothing else holds would be freed under it. Inside a scope. */
static dpt_status find_driver(hid_t *driver) {
    static hid_t known = -1;
    static const H5FD_class_t class = {.name = "dptrain_observed",
                                       .maxaddr = (haddr_t)INT64_MAX,
                                       .fc_degree = H5F_CLOSE_WEAK,
                                       .fapl_size = sizeof(request),
                                       .open = open_observed,
                                       .close = close_observed,
                                       .query = tell_features,
                                       .get_eoa = get_allocated,
                                       .set_eoa = set_allocated,
                                       .get_eof = get_size,
                                       .get_handle = get_handle,
                                       .read = read_observed,
                                       .write = write_observed,
                                       .fl_map = H5FD_FLMAP_DICHOTOMY};
    if (H5Iis_valid(known) <= 0 || H5Iget_type(known) != H5I_VFL) known = H5FDregister(&class); /* or after H5close */
    *driver = known;
    return DPT_H5(known);
}

dpt_status dpt_chunk_lookup_open(const char *path, hid_t *file) {
    hid_t access = -1, driver = -1;
    bool no_memory = false;
    dpt_status status;
    *file = -1;
    DPT_TRY_GOTO(DPT_H5(access = H5Pcreate(H5P_FILE_ACCESS)), fail);
    DPT_TRY_GOTO(find_driver(&driver), fail);
    DPT_TRY_GOTO(DPT_H5(H5Pset_driver(access, driver, &(request){&no_memory})), fail);
    DPT_TRY_GOTO(dpt_h5_open_with(path, access, file), fail);
fail:
    if (no_memory) status = dpt_error(DPT_ERR_MEMORY, "%s: out of memory", path);
    dpt_h5_close_properties(access);
    return status;
}

dpt_status dpt_chunk_lookup(hid_t file, hid_t dataset, const hsize_t *start, dpt_index_chunk *chunk) {
    void *handle = NULL;
    uint32_t mask = 0;
    char no_room;
    DPT_TRY(DPT_H5(H5Fget_vfd_handle(file, H5P_DEFAULT, &handle)));
    observed *f = handle;
    f->noting = true;
    f->notes = 0;
    dpt_status status = DPT_H5(H5Dread_chunk(dataset, H5P_DEFAULT, start, &mask, &no_room));
    f->noting = false;
    DPT_TRY(status);
    DPT_CHECK(f->notes == 1, DPT_ERR_DATA, "is stored in %d pieces", f->notes);
    DPT_CHECK(f->bytes <= UINT32_MAX, DPT_ERR_DATA, "declares %zu bytes", f->bytes);
    *chunk = (dpt_index_chunk){.offset = f->offset, .bytes = (uint32_t)f->bytes, .mask = mask};
    return DPT_OK;
}

dpt_status dpt_chunk_lookup_content(hid_t file, uint64_t file_bytes, dpt_content *content) {
    void *handle = NULL;
    *content = (dpt_content){0};
    DPT_TRY(DPT_H5(H5Fget_vfd_handle(file, H5P_DEFAULT, &handle)));
    observed *f = handle;
    if (f->forgotten) return DPT_ERR_MEMORY;
    *content = f->content;
    f->content = (dpt_content){0};
    dpt_content_settle(content, file_bytes);
    return dpt_content_digest(content, f->descriptor, &content->digest);
}

#endif
