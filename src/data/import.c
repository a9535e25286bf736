/* import.c: which formats there are, and an import from its beginning to its end: rank 0 takes the lock, looks at the
 * sources, plans (import_plan.h) and makes a target without values, or finds those of an import that was ended by
 * force; all ranks fill it (import_work.h); rank 0 gives it its name. Nothing here knows a format but the table, where
 * each has its line, and the one place where labels share the list of their images. */
#include "data/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "data/content.h"
#include "data/hdf5_output.h"
#include "data/image.h"
#include "data/image_folder.h"
#include "data/import_input.h"
#include "data/import_names.h"
#include "data/import_work.h"

enum { HEAD_BYTES = 8 };

typedef struct import_format {
    const char *name;
    const char *magic; /* of the content, decompressed; NULL: not known by it */
    size_t magic_bytes;
    const char *endings; /* of names, less .gz; each closed by a blank */
    const char *example; /* a line of help */
    dpt_status (*open)(const dpt_import_source *source, dpt_import_stream *stream);
    dpt_status (*reopen)(const dpt_import_source *source, const void *notes, int64_t bytes, dpt_import_stream *stream);
} import_format; /* reopen NULL: there are no notes, and open is quick */

static const import_format formats[] = {
    {"IDX", "\0\0", 2, ".idx ", "/train/x=train-images-idx3-ubyte.gz    IDX, plain or gzip", dpt_import_open_idx, NULL},
    {"NPY", "\x93NUMPY", 6, ".npy ", "/x=fields.npy                          NumPy array", dpt_import_open_npy, NULL},
    {"NPZ", "PK\3\4", 4, ".npz ", "/x=run.npz#velocity                    array of a NumPy archive",
     dpt_import_open_npy, NULL},
    {"CSV", NULL, 0, ".csv .tsv .tab .txt .dat ",
     "/x=table.csv#1-8  /y=table.csv#9:i64   columns of CSV, TSV or text with blanks; by number from 1, or name of\n"
     "                                         the header; behind them :f32 (not said), :f64 or :i64, and :nan to\n"
     "                                         allow NaN, infinities and empty fields; f32 rounds integers above 2^24",
     dpt_import_open_table, dpt_import_reopen_table},
    {"images", NULL, 0, "",
     "/x=photos#images  /y=photos#labels     folder of PNG or JPEG, a subfolder a class;\n"
     "                                         :size=64x64 another height and width, :skip=yes without broken ones",
     dpt_import_open_images, dpt_import_reopen_images},
};
enum { FORMATS = sizeof formats / sizeof *formats, FOLDER_FORMAT = FORMATS - 1 };

const char *dpt_import_example(int index) { return index < FORMATS ? formats[index].example : NULL; }

static dpt_status read_head(const char *path, char *head, int64_t *got) {
    dpt_import_input input;
    DPT_TRY(dpt_import_input_open(&input, path));
    dpt_status status = dpt_import_input_read(&input, head, HEAD_BYTES, got);
    dpt_import_input_close(&input);
    return status;
}

/* Whether a name ends in one of the endings, in whatever case, .gz behind it or not. */
static bool has_ending(const char *path, const char *endings) {
    size_t length = strlen(path);
    if (length > 3 && strcasecmp(path + length - 3, ".gz") == 0) length -= 3;
    for (const char *blank; (blank = strchr(endings, ' ')) != NULL; endings = blank + 1) {
        size_t n = (size_t)(blank - endings);
        if (length > n && strncasecmp(path + length - n, endings, n) == 0) return true;
    }
    return false;
}

/* Of files that a user may well hand over. */
static dpt_status refuse_format(const char *path, const char *head, size_t bytes) {
    const bool is_hdf5 = bytes >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
    DPT_CHECK(!is_hdf5, DPT_ERR_DATA, "%s: is HDF5 already, which needs no import (dptrain data pack joins such files)",
              path);
    DPT_CHECK(!dpt_image_is((const uint8_t *)head, bytes), DPT_ERR_DATA,
              "%s: an image; images are imported by the folder that they lie in", path);
    return dpt_error(DPT_ERR_DATA,
                     "%s: of no known format: neither the first bytes of IDX, NPY or NPZ, nor a name that ends in "
                     ".csv, .tsv, .tab, .txt or .dat",
                     path);
}

static dpt_status find_format(const char *path, int *format) {
    struct stat about;
    char head[HEAD_BYTES];
    int64_t got;
    DPT_CHECK(stat(path, &about) == 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    *format = FOLDER_FORMAT;
    if (S_ISDIR(about.st_mode)) return DPT_OK;
    DPT_CHECK(S_ISREG(about.st_mode), DPT_ERR_IO, "%s: neither a file nor a folder", path);
    DPT_TRY(read_head(path, head, &got));
    for (*format = 0; *format < FORMATS; ++*format) {
        size_t n = formats[*format].magic_bytes;
        if (n > 0 && (size_t)got >= n && memcmp(head, formats[*format].magic, n) == 0) return DPT_OK;
    }
    for (*format = 0; *format < FORMATS; ++*format)
        if (has_ending(path, formats[*format].endings)) return DPT_OK;
    return refuse_format(path, head, (size_t)got);
}

dpt_status dpt_import_reopen(const dpt_import_work *work, int64_t item, dpt_import_stream *stream) {
    const dpt_import_item *about = &work->plan->item[item];
    const import_format *format = &formats[about->format];
    const dpt_import_source *source = &work->source[item];
    if (format->reopen)
        DPT_TRY(format->reopen(source, work->plan->notes + about->notes_at, about->notes_bytes, stream));
    else
        DPT_TRY(format->open(source, stream));
    const bool same = stream->row_bytes == about->row_bytes && stream->dim[0] == about->dim[0] &&
                      (int64_t)stream->dtype == about->dtype;
    if (same) return DPT_OK;
    stream->close(stream);
    return dpt_error(DPT_ERR_DATA, "%s: changed while it was imported", source->file);
}

/* ---- an import ---- */

typedef struct import_job {
    const dpt_import_options *options;
    const dpt_import_source *source;
    int count;
    const char *target;
    char *partial, *journal_path;
    dpt_import_plan plan;
    uint8_t *marks;
    int file; /* partial, -1: not open */
    /* rank 0: */
    int lock;         /* -1: none */
    uint64_t *digest; /* [count] of each file, as it was at the beginning; at its first source */
    uint64_t request; /* of all, and of the program */
    dpt_import_journal journal;
} import_job;

/* What a source is now: another number once it has changed. */
static dpt_status digest_file(const char *path, uint64_t *value) {
    struct stat about;
    dpt_digest digest = {0};
    DPT_CHECK(stat(path, &about) == 0, DPT_ERR_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(about.st_mode)) {
        dpt_image_folder folder;
        DPT_TRY(dpt_image_folder_list(path, &folder));
        dpt_digest_i64(&digest, (int64_t)folder.digest);
        dpt_image_folder_close(&folder);
    } else {
        dpt_digest_i64(&digest, about.st_size);
        dpt_digest_i64(&digest, about.st_mtim.tv_sec);
        dpt_digest_i64(&digest, about.st_mtim.tv_nsec);
    }
    *value = digest.value;
    return DPT_OK;
}

/* The first source of the same file: a folder of a million images is listed once for images and labels. */
static int first_of_file(const import_job *job, int source) {
    int first = 0;
    while (strcmp(job->source[first].file, job->source[source].file) != 0) first++;
    return first;
}

static dpt_status digest_request(import_job *job) {
    dpt_digest digest = {0};
    job->digest = dpt_alloc_zero((size_t)job->count, sizeof *job->digest);
    DPT_CHECK_ALLOC(job->digest);
    dpt_digest_text(&digest, dpt_version());
    for (int i = 0; i < job->count; i++) {
        const dpt_import_source *source = &job->source[i];
        const int first = first_of_file(job, i);
        if (first == i) DPT_TRY(digest_file(source->file, &job->digest[i]));
        dpt_digest_text(&digest, source->dataset);
        dpt_digest_text(&digest, source->file);
        dpt_digest_text(&digest, source->part);
        dpt_digest_i64(&digest, (int64_t)job->digest[first]);
    }
    job->request = digest.value;
    return DPT_OK;
}

static dpt_status check_unchanged(const import_job *job) {
    for (int i = 0; i < job->count; i++) {
        uint64_t now;
        if (first_of_file(job, i) != i) continue;
        DPT_TRY(digest_file(job->source[i].file, &now));
        DPT_CHECK(now == job->digest[i], DPT_ERR_DATA, "%s: was written to while it was imported", job->source[i].file);
    }
    return DPT_OK;
}

/* ---- the target without its values ---- */

static dpt_status add_dataset(dpt_hdf5_output *out, const char *dataset, const dpt_import_stream *stream,
                              int64_t *offset) {
    DPT_TRY(dpt_hdf5_output_reserve(out, dataset, stream->dtype, stream->ndim, stream->dim, offset));
    DPT_TRY(dpt_hdf5_output_text(out, DPT_CHECKSUM_ATTRIBUTE, "0000000000000000")); /* until it is sealed */
    return stream->class_name ? dpt_hdf5_output_texts(out, "classes", stream->class_name, stream->classes) : DPT_OK;
}

static dpt_status add_datasets(import_job *job, const dpt_import_stream *stream) {
    dpt_hdf5_output out;
    dpt_status status;
    DPT_TRY(dpt_hdf5_output_open(&out, job->target, job->partial));
    for (int i = 0; i < job->count; i++)
        DPT_TRY_GOTO(add_dataset(&out, job->source[i].dataset, &stream[i], &job->plan.item[i].offset), fail);
    DPT_TRY_GOTO(dpt_hdf5_output_leave(&out), fail);
fail:
    dpt_hdf5_output_close(&out);
    return status;
}

static dpt_status target_failed(const import_job *job) {
    return dpt_error(DPT_ERR_IO, "%s cannot be written: %s", job->target, strerror(errno));
}

/* A disk without the room is told of before the work begins, where the file system can tell. */
static dpt_status reserve_room(const import_job *job, int file, int64_t bytes) {
    int failed;
    do failed = fallocate(file, 0, 0, (off_t)bytes) != 0 ? errno : 0;
    while (failed == EINTR);
    if (failed == EOPNOTSUPP || failed == ENOSYS) failed = ftruncate(file, (off_t)bytes) != 0 ? errno : 0;
    DPT_CHECK(failed == 0, DPT_ERR_IO, "%s cannot be written: it needs %lld bytes: %s", job->target, (long long)bytes,
              strerror(failed));
    return DPT_OK;
}

/* Before HDF5 begins, which would meet a full disk in the middle of closing its file, and could not close it then. */
static dpt_status try_room(const import_job *job) {
    int64_t bytes = 0;
    for (int i = 0; i < job->count; i++) {
        const dpt_import_item *item = &job->plan.item[i];
        DPT_CHECK(!__builtin_add_overflow(bytes, item->dim[0] * item->row_bytes, &bytes), DPT_ERR_DATA,
                  "%s: more than 2^63 bytes of values", job->target);
    }
    const int file = open(job->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) return target_failed(job);
    const dpt_status status = reserve_room(job, file, bytes);
    close(file);
    return status;
}

static dpt_status make_target(import_job *job, const dpt_import_stream *stream) {
    struct stat about;
    unlink(job->journal_path); /* of an older half-made target, which is overwritten now */
    DPT_TRY(try_room(job));
    DPT_TRY(add_datasets(job, stream));
    job->file = open(job->partial, O_RDWR | O_CLOEXEC);
    if (job->file < 0 || fstat(job->file, &about) != 0) return target_failed(job);
    DPT_TRY(reserve_room(job, job->file, about.st_size));
    if (fsync(job->file) != 0) return target_failed(job);
    if (job->lock < 0) return DPT_OK;
    return dpt_import_journal_create(job->journal_path, job->request, about.st_size, &job->plan, &job->journal);
}

/* ---- the plan ---- */

/* Labels of a folder whose images are open already share what was found there. */
static dpt_status open_stream(const import_job *job, const int *format, dpt_import_stream *stream, int source) {
    bool done = false;
    for (int i = 0; i < source && format[source] == FOLDER_FORMAT && !done; i++)
        if (format[i] == FOLDER_FORMAT)
            DPT_TRY(
                dpt_import_open_labels_of(&job->source[source], &job->source[i], &stream[i], &stream[source], &done));
    return done ? DPT_OK : formats[format[source]].open(&job->source[source], &stream[source]);
}

static dpt_status open_streams(const import_job *job, int *format, dpt_import_stream *stream, int *opened) {
    for (int i = 0; i < job->count; i++) DPT_TRY(find_format(job->source[i].file, &format[i])); /* quick, so first */
    for (; *opened < job->count; ++*opened) DPT_TRY(open_stream(job, format, stream, *opened));
    return DPT_OK;
}

static dpt_status begin_anew(import_job *job) {
    const size_t count = (size_t)job->count;
    int *format = dpt_alloc_zero(count, sizeof *format), opened = 0;
    dpt_import_stream *stream = dpt_alloc_zero(count, sizeof *stream);
    dpt_status status = format && stream ? DPT_OK : DPT_ERR_MEMORY;
    if (status == DPT_OK) status = open_streams(job, format, stream, &opened);
    if (status == DPT_OK) status = dpt_import_plan_make(job->source, stream, format, job->count, &job->plan);
    if (status == DPT_OK) {
        job->marks = dpt_alloc_zero((size_t)job->plan.pieces, 1);
        status = job->marks ? make_target(job, stream) : DPT_ERR_MEMORY;
    }
    while (opened > 0) opened--, stream[opened].close(&stream[opened]);
    dpt_free(format);
    dpt_free(stream);
    return status;
}

static dpt_status go_on(import_job *job, bool *found) {
    struct stat about;
    const char *why;
    *found = false;
    if (job->lock < 0 || stat(job->partial, &about) != 0) return DPT_OK;
    DPT_TRY(dpt_import_journal_open(job->journal_path, job->request, about.st_size, job->count, FORMATS, &job->journal,
                                    &job->plan, &job->marks, found, &why));
    if (!*found) dpt_log(DPT_LOG_WARNING, "%s: a half-made import is thrown away: %s", job->target, why);
    if (!*found) return DPT_OK;
    job->file = open(job->partial, O_RDWR | O_CLOEXEC);
    return job->file >= 0 ? DPT_OK : target_failed(job);
}

static void say_what_is_there(const import_job *job) {
    int64_t done = 0;
    for (int64_t p = 0; p < job->plan.pieces; p++) done += job->marks[p] == 1;
    dpt_log(DPT_LOG_INFO, "%s: goes on with an import that was ended by force: %lld of %lld pieces are there",
            job->target, (long long)done, (long long)job->plan.pieces);
}

static dpt_status name_files(import_job *job) {
    const bool keeps = job->options->control || job->lock >= 0; /* of several ranks all need the same name */
    job->partial = keeps ? dpt_format("%s.partial", job->target) : dpt_hdf5_output_own_name(job->target);
    job->journal_path = dpt_format("%s.partial.journal", job->target);
    return job->partial && job->journal_path ? DPT_OK : DPT_ERR_MEMORY;
}

static dpt_status begin_as_first(import_job *job, bool *there) {
    bool found;
    DPT_TRY(dpt_import_check_target(job->source, job->count, job->target));
    *there = access(job->target, F_OK) == 0;
    if (*there) return DPT_OK;
    DPT_TRY(dpt_hdf5_output_lock(job->target, &job->lock));
    *there = access(job->target, F_OK) == 0;
    if (*there) return DPT_OK;
    DPT_TRY(digest_request(job)); /* first: a failure of it leaves what is half-made */
    DPT_TRY(name_files(job));
    DPT_TRY(go_on(job, &found));
    if (!found) return begin_anew(job);
    say_what_is_there(job);
    return DPT_OK;
}

/* ---- all ranks ---- */

static dpt_status take_plan(import_job *job, const dpt_control *control) {
    int64_t size[2] = {job->plan.size, job->plan.pieces};
    DPT_TRY(dpt_control_broadcast(control, size, sizeof size, 0));
    dpt_status status = DPT_OK;
    if (control->rank > 0) {
        job->plan.size = size[0];
        job->plan.bytes = dpt_alloc((size_t)size[0]);
        job->marks = dpt_alloc((size_t)size[1]);
        status = job->plan.bytes && job->marks ? name_files(job) : DPT_ERR_MEMORY;
    }
    DPT_TRY(dpt_control_agree(control, status));
    DPT_TRY(dpt_control_broadcast(control, job->plan.bytes, (size_t)size[0], 0));
    DPT_TRY(dpt_control_broadcast(control, job->marks, (size_t)size[1], 0));
    if (control->rank > 0) {
        if (!dpt_import_plan_read(&job->plan, job->count, FORMATS))
            status = dpt_error(DPT_ERR_INTERNAL, "rank 0 sent a plan that is none");
        job->file = open(job->partial, O_RDWR | O_CLOEXEC);
        if (job->file < 0)
            status = dpt_error(DPT_ERR_IO, "%s: %s; the ranks of an import need a folder that all of them see",
                               job->partial, strerror(errno));
    }
    return dpt_control_agree(control, status);
}

/* Rows came in any order and from all ranks: the checksums of values are those of what stands in the file now. */
static dpt_status sum_values(const import_job *job, uint64_t *sum) {
    for (int i = 0; i < job->count; i++) {
        const dpt_import_item *item = &job->plan.item[i];
        const dpt_extent values = {(uint64_t)item->offset, (uint64_t)(item->dim[0] * item->row_bytes)};
        DPT_TRY(dpt_file_checksum(job->partial, &values, &sum[i]));
    }
    return DPT_OK;
}

/* A target that is left half-sealed has no journal, and is made anew. */
static dpt_status seal(const import_job *job, const uint64_t *sum) {
    unlink(job->journal_path);
    for (int i = 0; i < job->count; i++) DPT_TRY(dpt_hdf5_output_seal(job->partial, job->source[i].dataset, sum[i]));
    return DPT_OK;
}

static dpt_status finish_as_first(import_job *job) {
    uint64_t *sum = dpt_alloc_zero((size_t)job->count, sizeof *sum);
    DPT_CHECK_ALLOC(sum);
    dpt_status status = check_unchanged(job);
    if (status == DPT_OK) status = sum_values(job, sum);
    if (status == DPT_OK) status = seal(job, sum);
    dpt_free(sum);
    return status == DPT_OK ? dpt_file_commit(job->partial, job->target) : status;
}

static dpt_status import_together(import_job *job, const dpt_control *control) {
    int there = 0;
    bool is_there = false;
    dpt_status status = control->rank == 0 ? begin_as_first(job, &is_there) : DPT_OK;
    DPT_TRY(dpt_control_agree(control, status));
    there = is_there;
    DPT_TRY(dpt_control_broadcast(control, &there, sizeof there, 0));
    if (there) return DPT_OK;
    DPT_TRY(take_plan(job, control));
    DPT_TRY(dpt_import_work_run(&(dpt_import_work){.control = control,
                                                   .options = job->options,
                                                   .source = job->source,
                                                   .target = job->target,
                                                   .plan = &job->plan,
                                                   .marks = job->marks,
                                                   .file = job->file,
                                                   .journal = job->journal.file >= 0 ? &job->journal : NULL,
                                                   .journal_path = job->journal_path}));
    return dpt_control_agree(control, control->rank == 0 ? finish_as_first(job) : DPT_OK);
}

/* A failure leaves nothing half-made. */
static void close_job(import_job *job, int rank, dpt_status status) {
    if (job->file >= 0) close(job->file);
    dpt_import_journal_close(&job->journal);
    if (rank == 0 && status != DPT_OK && job->partial) {
        unlink(job->partial);
        unlink(job->journal_path);
    }
    dpt_hdf5_output_unlock(job->target, &job->lock);
    dpt_free(job->partial);
    dpt_free(job->journal_path);
    dpt_free(job->marks);
    dpt_free(job->digest);
    dpt_import_plan_close(&job->plan);
}

dpt_status dpt_import_files_with(const dpt_import_options *options, const dpt_import_source *sources, int count,
                                 const char *target) {
    const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};
    const dpt_control *control = options->control ? options->control : &alone;
    DPT_CHECK(count > 0, DPT_ERR_ARG, "%s: an import of no files", target);
    import_job job = {.options = options,
                      .source = sources,
                      .count = count,
                      .target = target,
                      .file = -1,
                      .lock = -1,
                      .journal.file = -1};
    DPT_TRY(dpt_import_check_datasets(sources, count));
    dpt_status status = import_together(&job, control);
    close_job(&job, control->rank, status);
    return status;
}

dpt_status dpt_import_files(const dpt_import_source *sources, int count, const char *target) {
    return dpt_import_files_with(&(dpt_import_options){0}, sources, count, target);
}

/* ---- Fashion-MNIST ---- */

enum { FASHION_FILES = 4 };
static const char fashion_folder[] = "/usr/share/datasets/fashion-mnist";
static const dpt_import_source fashion_files[FASHION_FILES] = {{"/train/x", "train-images-idx3-ubyte.gz", NULL},
                                                               {"/train/y", "train-labels-idx1-ubyte.gz", NULL},
                                                               {"/test/x", "t10k-images-idx3-ubyte.gz", NULL},
                                                               {"/test/y", "t10k-labels-idx1-ubyte.gz", NULL}};

dpt_status dpt_import_fashion_mnist_with(const dpt_import_options *options, const char *source_dir,
                                         const char *target) {
    dpt_import_source sources[FASHION_FILES];
    char *path[FASHION_FILES] = {NULL};
    dpt_status status = DPT_OK;
    for (int i = 0; i < FASHION_FILES; i++) {
        path[i] = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].file);
        if (path[i] == NULL) status = DPT_ERR_MEMORY;
        sources[i] = (dpt_import_source){.dataset = fashion_files[i].dataset, .file = path[i]};
    }
    if (options->control) status = dpt_control_agree(options->control, status);
    if (status == DPT_OK) status = dpt_import_files_with(options, sources, FASHION_FILES, target);
    for (int i = 0; i < FASHION_FILES; i++) dpt_free(path[i]);
    return status;
}

dpt_status dpt_import_fashion_mnist(const char *source_dir, const char *target) {
    return dpt_import_fashion_mnist_with(&(dpt_import_options){0}, source_dir, target);
}

bool dpt_import_fashion_mnist_available(const char *source_dir) {
    bool all = true;
    for (int i = 0; i < FASHION_FILES && all; i++) {
        char *path = dpt_format("%s/%s", source_dir ? source_dir : fashion_folder, fashion_files[i].file);
        all = path != NULL && access(path, R_OK) == 0;
        dpt_free(path);
    }
    return all;
}
