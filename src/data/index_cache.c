/* index_cache.c: see index_cache.h. The file is named by a digest of the files' absolute names and of the fields:
 *
 *   "dptrain index 1\n"   16 bytes: the version
 *   XXH64 of all that follows, 8 bytes, little-endian
 *   the index (dataset_pack.c)
 *
 * Invariant: only what this user or root wrote is looked at, and nothing of it is believed that dpt_index_unpack and
 * fits() have not checked; a change of what an index holds changes the version. */
#include "data/index_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"

static const char magic[] = "dptrain index 1\n";
enum { MAGIC = sizeof magic - 1, HEAD = MAGIC + 8 };
static const int64_t MOST_BYTES = (int64_t)4 << 30; /* 2^28 chunks */

/* Another spelling of the same name is the same name. NULL: out of memory. */
static char *cache_path(const dpt_file_list *files, const dpt_field_spec *fields, int count, const char *folder) {
    dpt_digest d = {0};
    for (int64_t f = 0; f < files->count; f++) {
        char *absolute = realpath(files->file[f].path, NULL);
        dpt_digest_text(&d, absolute ? absolute : files->file[f].path);
        free(absolute);
    }
    for (int i = 0; i < count; i++) {
        dpt_digest_text(&d, fields[i].name);
        dpt_digest_text(&d, fields[i].path);
        dpt_digest_i64(&d, fields[i].dtype);
    }
    return dpt_format("%s/index-%016" PRIx64, folder, d.value);
}

/* ---- using one again ---- */

static uint64_t get_little_endian(const unsigned char *b) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)b[i] << (8 * i);
    return value;
}

static dpt_status read_all(int descriptor, unsigned char *out, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = pread(descriptor, out + at, bytes - at, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        DPT_CHECK(n > 0, DPT_ERR_IO, "%s", n < 0 ? strerror(errno) : "ends early");
        at += (size_t)n;
    }
    return DPT_OK;
}

static dpt_status unpack_checked(const unsigned char *bytes, size_t size, dpt_index *index) {
    DPT_CHECK(memcmp(bytes, magic, MAGIC) == 0, DPT_ERR_DATA, "of another version");
    DPT_CHECK(get_little_endian(bytes + MAGIC) == dpt_hash(bytes + HEAD, size - HEAD, 0), DPT_ERR_DATA,
              "its checksum differs");
    return dpt_index_unpack(bytes + HEAD, size - HEAD, index);
}

/* Bytes can be checked, but not whether they say where the values are: whoever writes an index says what is read. */
static bool is_trusted(const struct stat *about) {
    return (about->st_uid == geteuid() || about->st_uid == 0) && (about->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static dpt_status load(const char *path, dpt_index *index) {
    struct stat about;
    unsigned char *bytes = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    DPT_CHECK(descriptor >= 0, DPT_ERR_IO, "%s", strerror(errno));
    dpt_status status = DPT_OK;
    bool regular = fstat(descriptor, &about) == 0 && S_ISREG(about.st_mode);
    DPT_CHECK_GOTO(!regular || is_trusted(&about), fail, DPT_ERR_DATA, "another user owns it or may write to it");
    DPT_CHECK_GOTO(regular && about.st_size >= HEAD && about.st_size <= MOST_BYTES, fail, DPT_ERR_DATA,
                   "no file of an index's size");
    bytes = dpt_alloc((size_t)about.st_size);
    DPT_CHECK_ALLOC_GOTO(bytes, fail);
    DPT_TRY_GOTO(read_all(descriptor, bytes, (size_t)about.st_size), fail);
    DPT_TRY_GOTO(unpack_checked(bytes, (size_t)about.st_size, index), fail);
fail:
    close(descriptor);
    dpt_free(bytes);
    return status;
}

static dpt_status file_fits(const dpt_index_file *kept, const dpt_listed_file *now) {
    uint64_t digest;
    DPT_CHECK(kept->bytes == (uint64_t)now->about.st_size, DPT_ERR_DATA, "%s has another size", now->path);
    DPT_CHECK(kept->mtime_ns == dpt_index_mtime_ns(&now->about), DPT_ERR_DATA, "%s was changed at another time",
              now->path);
    DPT_CHECK(kept->content.extents > 0, DPT_ERR_DATA, "%s: no bytes to compare", now->path);
    int descriptor = open(now->path, O_RDONLY | O_CLOEXEC);
    DPT_CHECK(descriptor >= 0, DPT_ERR_IO, "%s: %s", now->path, strerror(errno));
    dpt_status status = dpt_content_digest(&kept->content, descriptor, &digest);
    close(descriptor);
    DPT_TRY(status);
    DPT_CHECK(digest == kept->content.digest, DPT_ERR_DATA, "%s has another content", now->path);
    return DPT_OK;
}

static dpt_status field_fits(const dpt_field *kept, const dpt_field_spec *wanted) {
    bool same =
        strcmp(kept->name, wanted->name) == 0 && strcmp(kept->path, wanted->path) == 0 && kept->dtype == wanted->dtype;
    DPT_CHECK(same, DPT_ERR_DATA, "of another field");
    return dpt_index_check_wanted(wanted, kept->stored, kept->ndim, kept->dim);
}

static dpt_status fits(const dpt_index *index, const dpt_file_list *files, const dpt_field_spec *fields, int count) {
    DPT_CHECK(index->files == files->count && index->fields == count, DPT_ERR_DATA, "of other files");
    for (int i = 0; i < count; i++) DPT_TRY(field_fits(&index->field[i].about, &fields[i]));
    for (int f = 0; f < index->files; f++) DPT_TRY(file_fits(&index->file[f], &files->file[f]));
    return DPT_OK;
}

/* Files are called as they are called now. */
static dpt_status rename_files(dpt_index *index, const dpt_file_list *files) {
    for (int f = 0; f < index->files; f++) {
        dpt_free(index->file[f].path);
        index->file[f].path = dpt_strdup(files->file[f].path);
        DPT_CHECK_ALLOC(index->file[f].path);
    }
    return DPT_OK;
}

/* On failure the index is empty. */
static dpt_status use_again(const char *path, const dpt_file_list *files, const dpt_field_spec *fields, int count,
                            dpt_index *index) {
    *index = (dpt_index){0};
    dpt_status status;
    DPT_TRY_GOTO(load(path, index), fail);
    DPT_TRY_GOTO(fits(index, files, fields, count), fail);
    DPT_TRY_GOTO(rename_files(index, files), fail);
    dpt_log(DPT_LOG_DEBUG, "index %s: used again", path);
    return DPT_OK;
fail:
    dpt_index_destroy(index);
    dpt_log(DPT_LOG_DEBUG, "index %s: made anew: %s", path, dpt_last_error());
    return status;
}

/* ---- keeping one ---- */

static dpt_status write_named(const char *path, const void *bytes, size_t size) {
    char host[65] = "host";
    gethostname(host, sizeof host - 1);
    char *mine = dpt_format("%s.%s-%ld", path, host, (long)getpid()); /* other processes may write there too */
    DPT_CHECK_ALLOC(mine);
    struct stat about;
    dpt_status status = dpt_file_write(mine, bytes, size);
    if (status == DPT_OK && stat(mine, &about) == 0) chmod(mine, about.st_mode & 0644); /* see is_trusted */
    if (status == DPT_OK) status = dpt_file_commit(mine, path);
    dpt_free(mine);
    return status;
}

static dpt_status keep(const char *path, const dpt_index *index) {
    void *packed;
    uint64_t size, sum;
    DPT_TRY(dpt_index_pack(index, &packed, &size));
    unsigned char *bytes = dpt_alloc(HEAD + size);
    dpt_status status = bytes ? DPT_OK : DPT_ERR_MEMORY;
    if (status == DPT_OK) {
        memcpy(bytes, magic, MAGIC);
        memcpy(bytes + HEAD, packed, size);
        sum = dpt_hash(packed, size, 0);
        for (int i = 0; i < 8; i++) bytes[MAGIC + i] = (unsigned char)(sum >> (8 * i));
        status = write_named(path, bytes, HEAD + size);
    }
    dpt_free(packed);
    dpt_free(bytes);
    return status;
}

static bool can_be_kept(const dpt_index *index) {
    bool known = true;
    for (int f = 0; f < index->files; f++) known &= index->file[f].content.extents > 0;
    return known;
}

static dpt_status make_kept(const dpt_file_list *files, const dpt_field_spec *fields, int count, const char *folder,
                            dpt_index *index) {
    char *path = cache_path(files, fields, count, folder);
    DPT_CHECK_ALLOC(path);
    dpt_status status = use_again(path, files, fields, count, index);
    if (status != DPT_OK && status != DPT_ERR_MEMORY) {
        status = dpt_index_create(files, fields, count, index);
        if (status == DPT_OK && can_be_kept(index)) {
            mkdir(folder, 0777); /* a failure shows when the file is written */
            if (keep(path, index) != DPT_OK) dpt_log(DPT_LOG_DEBUG, "index %s: not kept: %s", path, dpt_last_error());
        }
    }
    dpt_free(path);
    return status;
}

/* ---- both ---- */

/* What holds whether the index is new or not. */
static dpt_status check_rows(const dpt_index *index, const dpt_file_list *files) {
    for (int f = 0; f < index->files; f++) {
        DPT_TRY(dpt_file_list_check_rows(&files->file[f], index->file[f].rows));
        if (index->file[f].rows == 0)
            dpt_log(DPT_LOG_WARNING, "%s: %s: 0 samples: the file adds nothing", index->file[f].path,
                    index->field[0].path);
    }
    return DPT_OK;
}

dpt_status dpt_index_obtain(const char *const *files, int file_count, const dpt_field_spec *fields, int field_count,
                            const char *folder, dpt_index *index) {
    dpt_file_list list;
    *index = (dpt_index){0};
    DPT_CHECK(file_count > 0, DPT_ERR_ARG, "a dataset of no files");
    DPT_CHECK(field_count > 0, DPT_ERR_ARG, "%s: a dataset of no fields", files[0]);
    DPT_TRY(dpt_file_list_make(files, file_count, &list));
    dpt_status status = folder && folder[0] ? make_kept(&list, fields, field_count, folder, index)
                                            : dpt_index_create(&list, fields, field_count, index);
    if (status == DPT_OK) status = check_rows(index, &list);
    dpt_file_list_free(&list);
    return status;
}
