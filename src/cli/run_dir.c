/* run_dir.c: see run_dir.h. The lock is flock() on the file "lock", which ends with its process, and the text "host
 * pid" in it, for people and for file systems that do not carry flock() to other hosts. A lock without text is free:
 * the file is emptied and never removed, so that nobody can hold a lock on a name that is gone. */
#include "cli/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"

enum { LONGEST_HOST = 256, LONGEST_LOCK = 320 };

struct dpt_run_dir {
    char *path;
    int lock;
};

static char *default_path(const char *model) {
    const char *job = getenv("SLURM_ARRAY_JOB_ID"), *task = getenv("SLURM_ARRAY_TASK_ID");
    if (job != NULL && task != NULL) return dpt_format("runs/%s-%s_%s", model, job, task);
    job = getenv("SLURM_JOB_ID");
    if (job != NULL) return dpt_format("runs/%s-%s", model, job);
    char now[32];
    dpt_clock_utc(now, sizeof now);
    return dpt_format("runs/%s-%s", model, now);
}

/* mkdir -p */
static dpt_status make_folders(const char *path) {
    char *part = dpt_strdup(path);
    DPT_CHECK_ALLOC(part);
    int failed = 0;
    for (char *c = part + 1; !failed; c++) {
        if (*c != '/' && *c != '\0') continue;
        char end = *c;
        *c = '\0';
        struct stat about;
        if (mkdir(part, 0777) != 0 && (errno != EEXIST || stat(part, &about) != 0)) failed = errno;
        if (!failed && stat(part, &about) == 0 && !S_ISDIR(about.st_mode)) failed = ENOTDIR;
        *c = end;
        if (end == '\0') break;
    }
    dpt_free(part);
    DPT_CHECK(!failed, DPT_ERR_IO, "run directory %s cannot be made: %s", path, strerror(failed));
    return DPT_OK;
}

/* Anything but the lock counts. */
static dpt_status check_empty(const char *path) {
    DIR *folder = opendir(path);
    DPT_CHECK(folder != NULL, DPT_ERR_IO, "run directory %s cannot be read: %s", path, strerror(errno));
    dpt_status status = DPT_OK;
    for (struct dirent *e; status == DPT_OK && (e = readdir(folder)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, "lock") != 0)
            status = dpt_error(DPT_ERR_CONFIG,
                               "run directory %s is not empty (%s): name another with run.dir=, or replace its files "
                               "with run.overwrite=true",
                               path, e->d_name);
    closedir(folder);
    return status;
}

static void host_name(char *text) {
    if (gethostname(text, LONGEST_HOST) != 0) snprintf(text, LONGEST_HOST, "localhost");
    text[LONGEST_HOST - 1] = '\0';
}

/* Whether the text of a lock that flock() gave us, or that has no flock(), is that of a living process. */
static bool is_live(const char *text, bool have_flock, char *owner_host, long *owner) {
    char me[LONGEST_HOST];
    host_name(me);
    *owner = 0;
    if (sscanf(text, "%255s %ld", owner_host, owner) != 2) return false;
    if (strcmp(owner_host, me) != 0) return true; /* cannot be asked from here */
    return !have_flock && *owner > 0 && (kill((pid_t)*owner, 0) == 0 || errno != ESRCH);
}

static dpt_status check_owner(const char *path, int lock, int flock_error) {
    char text[LONGEST_LOCK] = "", host[LONGEST_HOST] = "unknown host";
    long owner = 0;
    ssize_t n = pread(lock, text, sizeof text - 1, 0);
    DPT_CHECK(n >= 0, DPT_ERR_IO, "%s/lock cannot be read: %s", path, strerror(errno));
    bool live = is_live(text, flock_error == 0, host, &owner);
    DPT_CHECK(flock_error != EWOULDBLOCK && !live, DPT_ERR_CONFIG,
              "run directory %s is in use by process %ld on %s (if that is gone, remove %s/lock)", path, owner, host,
              path);
    return DPT_OK;
}

static dpt_status take_lock(const char *path, int *lock) {
    char name[LONGEST_HOST], text[LONGEST_LOCK];
    char *file = dpt_format("%s/lock", path);
    DPT_CHECK_ALLOC(file);
    *lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int failed = errno;
    dpt_free(file);
    DPT_CHECK(*lock >= 0, DPT_ERR_IO, "run directory %s cannot be written: %s", path, strerror(failed));
    dpt_status status;
    int flock_error = flock(*lock, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    DPT_TRY_GOTO(check_owner(path, *lock, flock_error), fail);
    host_name(name);
    int n = snprintf(text, sizeof text, "%s %ld\n", name, (long)getpid());
    errno = 0;
    bool written = ftruncate(*lock, 0) == 0 && pwrite(*lock, text, (size_t)n, 0) == n;
    DPT_CHECK_GOTO(written, fail, DPT_ERR_IO, "%s/lock cannot be written: %s", path, strerror(errno ? errno : ENOSPC));
    return DPT_OK;
fail:
    close(*lock);
    *lock = -1;
    return status;
}

/* Nothing is written into a folder that turns out not to be free. */
static dpt_status take(dpt_run_dir *run, bool overwrite) {
    char *file = dpt_format("%s/lock", run->path);
    DPT_CHECK_ALLOC(file);
    bool has_lock = access(file, F_OK) == 0;
    dpt_free(file);
    if (!has_lock && !overwrite) DPT_TRY(check_empty(run->path));
    DPT_TRY(take_lock(run->path, &run->lock));
    return overwrite ? DPT_OK : check_empty(run->path);
}

dpt_status dpt_run_dir_open(const char *path, const char *model, bool overwrite, dpt_run_dir **run) {
    *run = NULL;
    dpt_run_dir *made = dpt_alloc_zero(1, sizeof *made);
    DPT_CHECK_ALLOC(made);
    dpt_status status = DPT_OK;
    made->lock = -1;
    made->path = path != NULL ? dpt_strdup(path) : default_path(model);
    DPT_CHECK_ALLOC_GOTO(made->path, fail);
    DPT_CHECK_GOTO(made->path[0] != '\0', fail, DPT_ERR_CONFIG, "run.dir is empty");
    DPT_TRY_GOTO(make_folders(made->path), fail);
    DPT_TRY_GOTO(take(made, overwrite), fail);
    *run = made;
    return DPT_OK;
fail:
    dpt_run_dir_close(&made);
    return status;
}

void dpt_run_dir_close(dpt_run_dir **run) {
    if (*run == NULL) return;
    if ((*run)->lock >= 0) {
        if (ftruncate((*run)->lock, 0) != 0) errno = 0; /* the lock ends with the file descriptor all the same */
        close((*run)->lock);
    }
    dpt_free((*run)->path);
    dpt_free(*run);
    *run = NULL;
}

const char *dpt_run_dir_path(const dpt_run_dir *run) { return run->path; }

char *dpt_run_dir_file(const dpt_run_dir *run, const char *name) { return dpt_format("%s/%s", run->path, name); }

/* ---- files ---- */

dpt_status dpt_run_dir_write(const dpt_run_dir *run, const char *name, const char *text) {
    char *file = dpt_run_dir_file(run, name);
    DPT_CHECK_ALLOC(file);
    dpt_status status = dpt_file_write(file, text, strlen(text));
    dpt_free(file);
    return status;
}
