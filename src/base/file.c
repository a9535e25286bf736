/* file.c: see file.h. The functions on file descriptors return 0 or errno, since closing may change errno. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

dpt_status dpt_file_read(const char *what, const char *path, dpt_status code, size_t most, char **text, size_t *bytes) {
    *text = NULL;
    FILE *in = fopen(path, "re");
    DPT_CHECK(in != NULL, code, "%s %s: %s", what, path, strerror(errno));
    dpt_status status = DPT_OK;
    char *read = dpt_alloc(most + 1);
    DPT_CHECK_ALLOC_GOTO(read, fail);
    *bytes = fread(read, 1, most + 1, in);
    DPT_CHECK_GOTO(!ferror(in), fail, code, "%s %s: %s", what, path, strerror(errno));
    DPT_CHECK_GOTO(*bytes <= most, fail, code, "%s %s: over %zu bytes", what, path, most);
    read[*bytes] = 0;
    *text = read;
    read = NULL;
fail:
    fclose(in);
    dpt_free(read);
    return status;
}

static dpt_status check_written(const char *path, int failed) {
    DPT_CHECK(!failed, DPT_ERR_IO, "%s cannot be written: %s", path, strerror(failed));
    return DPT_OK;
}

static int write_all(int file, const char *content, size_t bytes) {
    while (bytes > 0) {
        ssize_t n = write(file, content, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        content += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* In a folder of several users a temporary name may be a link that another one has made, to any file. */
static int create_file(const char *path, const char *content, size_t bytes) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file < 0) return errno;
    int failed = write_all(file, content, bytes);
    if (close(file) != 0 && !failed) failed = errno;
    return failed;
}

static int sync_path(const char *path, int flags) {
    int file = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (file < 0) return errno;
    int failed = fsync(file) != 0 ? errno : 0;
    close(file);
    return failed == EINVAL && flags & O_DIRECTORY ? 0 : failed; /* file systems that cannot sync a folder */
}

dpt_status dpt_file_commit(const char *temporary, const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = dpt_format("%.*s.", slash ? (int)(slash + 1 - path) : 0, path);
    dpt_status status;
    DPT_CHECK_ALLOC_GOTO(folder, fail);
    DPT_TRY_GOTO(check_written(path, sync_path(temporary, 0)), fail);
    DPT_TRY_GOTO(check_written(path, rename(temporary, path) != 0 ? errno : 0), fail);
    DPT_TRY_GOTO(check_written(path, sync_path(folder, O_DIRECTORY)), fail);
fail:
    if (status != DPT_OK) unlink(temporary);
    dpt_free(folder);
    return status;
}

dpt_status dpt_file_write(const char *path, const void *content, size_t bytes) {
    char *temporary = dpt_format("%s.tmp", path);
    DPT_CHECK_ALLOC(temporary);
    dpt_status status = check_written(path, create_file(temporary, content, bytes));
    if (status == DPT_OK)
        status = dpt_file_commit(temporary, path);
    else
        unlink(temporary);
    dpt_free(temporary);
    return status;
}

dpt_status dpt_file_write_first(const char *path, const char *temporary, const void *content, size_t bytes,
                                bool *first) {
    int failed = create_file(temporary, content, bytes);
    if (!failed) failed = sync_path(temporary, 0);
    if (!failed && link(temporary, path) != 0) failed = errno;
    unlink(temporary);
    *first = !failed;
    return check_written(path, failed == EEXIST ? 0 : failed);
}
