/* data_rate.c: how fast the loader delivers, beside plain programs that do the least that could be done instead: pread
 * of the same extents in the same order by as many threads, or H5Dread. Used by launch/bench-data.sh.
 *
 *   data_rate FOLDER [rounds=11] [mib=512] [width=3072] ID...           IDs: D1 D2 D3 D4 D5, all of them if none
 *
 * Writes its files into FOLDER (which then lie in the page cache) and prints a line of a table a comparison. A round is
 * EPOCHS epochs of each side, one after the other, their order changing from round to round; what is judged is the
 * median of the rounds' ratios. Loader and plain program have equally many buffers of a batch. Exit status 1: a bound
 * was missed.
 *
 * Invariant: the extents of the plain program are made from the samples that the loader delivered, in its order, so
 * that both read the same bytes of the same file in the same order. */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/dataset_index.h"
#include "data/loader.h"
#include "data_rate_files.h"

enum { EPOCHS = 4, ROWS = 256, IMAGES = 16, SLOTS = 4, WINDOW = 16, MOST_ROUNDS = 1001, MOST_THREADS = 4, RANKS = 4 };

typedef struct settings {
    const char *folder;
    long rounds;
    rate_sizes sizes;
} settings;

/* What the loader is to do. */
typedef struct job {
    rate_file file;
    bool shuffle;
    int window; /* 0: exact order */
    int threads;
} job;

typedef enum other { PREAD, HDF5, ONE_THREAD, NOTHING } other;

/* least: of the rate over the other's; without another of GB/s out of the loader, by processor time. */
typedef struct contest {
    const char *id, *what;
    job job;
    other other;
    double least;
} contest;

static const contest contests[] = {
    {"D1", "contiguous f32, file order", {RATE_CONTIGUOUS, false, 0, 1}, PREAD, 0.90},
    {"D1", "contiguous f32, file order", {RATE_CONTIGUOUS, false, 0, 2}, PREAD, 0.90},
    {"D1", "contiguous f32, order lanes", {RATE_CONTIGUOUS, true, WINDOW, 1}, PREAD, 0.90},
    {"D1", "contiguous f32, order lanes", {RATE_CONTIGUOUS, true, WINDOW, 2}, PREAD, 0.90},
    {"D2", "chunked f32, order lanes", {RATE_CHUNKED, true, WINDOW, 1}, PREAD, 0.85},
    {"D2", "chunked f32, order lanes", {RATE_CHUNKED, true, WINDOW, 2}, PREAD, 0.85},
    {"D3", "deflated chunks, file order", {RATE_DEFLATED, false, 0, 2}, ONE_THREAD, 1.7},
    {"D3", "deflated chunks, file order", {RATE_DEFLATED, false, 0, 1}, HDF5, 1.5},
    {"D4", "u8 images to normalised f32, file order", {RATE_IMAGES, false, 0, 1}, NOTHING, 3.0},
    {"D4", "u8 images to normalised f32, exact order", {RATE_IMAGES, true, 0, 1}, NOTHING, 3.0},
    {"D5", "contiguous f32, exact order", {RATE_CONTIGUOUS, true, 0, 1}, PREAD, 1 / 1.3},
    {"D5", "contiguous f32, exact order", {RATE_CONTIGUOUS, true, 0, 2}, PREAD, 1 / 1.3},
};
static const char *const other_text[] = {"pread", "H5Dread", "1 thread", "-"};

typedef struct extent {
    uint64_t offset, bytes;
} extent;

/* What a plain program reads: extents first[b] to first[b+1]-1 for batch b. */
typedef struct plain {
    int descriptor;
    uint64_t batches, batch_bytes;
    extent *extent;
    uint64_t *first;
    atomic_ullong next; /* batch to be taken */
    atomic_int failures;
} plain;

typedef struct timing {
    double wall_s, cpu_s; /* cpu_s: of all threads */
} timing;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "data_rate: %s: %s\n", what, dpt_last_error());
    exit(70);
}

static void *checked(void *p) {
    if (p == NULL) fail("out of memory");
    return p;
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static timing begin(void) { return (timing){dpt_clock_s(), cpu_s()}; }

static timing end(timing t) { return (timing){dpt_clock_s() - t.wall_s, cpu_s() - t.cpu_s}; }

/* Several MB of values. */
static int batch_rows(rate_file file) { return file == RATE_IMAGES ? IMAGES : ROWS; }

/* ---- the loader ---- */

static dpt_loader *open_loader(const dpt_dataset *dataset, const job *j, uint64_t epochs, int rank, int world) {
    static const double mean[] = {123.7, 116.3, 103.5}, std[] = {58.4, 57.1, 57.4};
    const dpt_normalise normalise = {.scale = 1, .channels = 3, .mean = mean, .std = std};
    dpt_loader_options o;
    dpt_loader *loader;
    dpt_loader_options_init(&o);
    o.seed = 1;
    o.shuffle = j->shuffle;
    o.window = (uint64_t)j->window;
    o.global_batch = batch_rows(j->file);
    o.epochs = epochs;
    o.threads = j->threads;
    o.slots = SLOTS;
    o.rank = rank;
    o.world = world;
    if (!j->shuffle) o.cache_bytes = 8 << 20; /* a file that fits would be decoded once for all epochs */
    if (j->file == RATE_IMAGES) o.normalise = &normalise;
    if (dpt_loader_create(dataset, &o, &loader) != DPT_OK) fail("loader");
    return loader;
}

/* EPOCHS epochs, whose samples go to `sample` in their order, where that is not NULL. */
static timing run_loader(const dpt_dataset *dataset, const job *j, uint64_t *sample) {
    timing t = begin();
    dpt_loader *loader = open_loader(dataset, j, EPOCHS, 0, 1);
    const dpt_batch *batch;
    dpt_status status;
    while ((status = dpt_loader_next(loader, &batch)) == DPT_OK && batch) {
        if (sample) memcpy(sample, batch->sample, (size_t)batch->rows * sizeof *sample);
        if (sample) sample += batch->rows;
        dpt_loader_release(loader);
    }
    if (status != DPT_OK) fail("loader");
    t = end(t);
    dpt_loader_destroy(&loader);
    return t;
}

/* ---- pread ---- */

static uint64_t offset_of(const dpt_index *index, uint64_t sample) {
    const dpt_index_part *part = &index->part[0];
    uint64_t row_bytes = index->field[0].row_bytes;
    if (part->storage != DPT_STORAGE_CHUNKED) return part->offset + sample * row_bytes;
    return part->chunk[sample / part->chunk_dim[0]].offset + sample % part->chunk_dim[0] * row_bytes;
}

/* Rows that follow each other in the file are one extent. */
static plain plan_plain(const dpt_dataset *dataset, const char *path, const uint64_t *sample) {
    const dpt_index *index = dpt_dataset_index(dataset);
    uint64_t row_bytes = index->field[0].row_bytes, rows = EPOCHS * index->rows, n = 0;
    plain p = {.batches = (rows + ROWS - 1) / ROWS, .batch_bytes = ROWS * row_bytes};
    p.extent = checked(malloc(rows * sizeof *p.extent));
    p.first = checked(malloc((p.batches + 1) * sizeof *p.first));
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t offset = offset_of(index, sample[row]);
        bool opens = row % ROWS == 0;
        if (opens) p.first[row / ROWS] = n;
        if (!opens && p.extent[n - 1].offset + p.extent[n - 1].bytes == offset)
            p.extent[n - 1].bytes += row_bytes;
        else
            p.extent[n++] = (extent){offset, row_bytes};
    }
    p.first[p.batches] = n;
    p.descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (p.descriptor < 0) fail(path);
    return p;
}

static void close_plain(plain *p) {
    close(p->descriptor);
    free(p->extent);
    free(p->first);
}

typedef struct plain_thread {
    plain *plan;
    int buffers;
} plain_thread;

static void *read_plain(void *user) {
    const plain_thread *me = user;
    plain *p = me->plan;
    char *buffer = checked(aligned_alloc(64, p->batch_bytes * (uint64_t)me->buffers));
    int turn = 0;
    for (uint64_t b; (b = atomic_fetch_add(&p->next, 1)) < p->batches; turn = (turn + 1) % me->buffers) {
        char *out = buffer + p->batch_bytes * (uint64_t)turn;
        for (uint64_t e = p->first[b]; e < p->first[b + 1]; out += p->extent[e++].bytes)
            if (pread(p->descriptor, out, p->extent[e].bytes, (off_t)p->extent[e].offset) !=
                (ssize_t)p->extent[e].bytes)
                atomic_fetch_add(&p->failures, 1);
    }
    free(buffer);
    return NULL;
}

static timing run_plain(plain *p, int threads) {
    pthread_t thread[MOST_THREADS];
    plain_thread each = {p, SLOTS / threads};
    timing t = begin();
    atomic_store(&p->next, 0);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, read_plain, &each) != 0) fail("thread");
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    if (atomic_load(&p->failures) > 0) fail("pread");
    return end(t);
}

/* ---- rounds ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. */
static double median(double *x, long n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* What the rounds gave, each of the lists [rounds]. */
typedef struct tally {
    double *ours, *other, *ratio, *cpu_ratio; /* GB/s, GB/s, ours over the other's */
} tally;

static timing run_other(const contest *c, const dpt_dataset *dataset, const char *path, plain *p) {
    job one = c->job;
    one.threads = 1;
    timing t = begin();
    switch (c->other) {
        case PREAD: return run_plain(p, c->job.threads);
        case ONE_THREAD: return run_loader(dataset, &one, NULL);
        case HDF5:
            for (int epoch = 0; epoch < EPOCHS; epoch++) rate_read_hdf5(path);
            break;
        case NOTHING: return (timing){NAN, NAN};
    }
    return end(t);
}

static void run_rounds(const contest *c, long rounds, const dpt_dataset *dataset, const char *path, tally *t) {
    const dpt_field *field = dpt_dataset_field(dataset, 0);
    uint64_t rows = dpt_dataset_rows(dataset);
    uint64_t *sample = checked(malloc(EPOCHS * rows * sizeof *sample));
    double gb = 1e-9 * (double)(EPOCHS * rows) * (double)field->elements * (double)dpt_dtype_size(field->dtype);
    run_loader(dataset, &c->job, sample);
    plain p = {.descriptor = -1};
    if (c->other == PREAD) p = plan_plain(dataset, path, sample);
    run_other(c, dataset, path, &p);
    for (long r = 0; r < rounds; r++) {
        timing ours, theirs;
        if (r % 2) theirs = run_other(c, dataset, path, &p);
        ours = run_loader(dataset, &c->job, NULL);
        if (r % 2 == 0) theirs = run_other(c, dataset, path, &p);
        t->ours[r] = gb / (c->other == NOTHING ? ours.cpu_s : ours.wall_s);
        t->other[r] = gb / theirs.wall_s;
        t->ratio[r] = c->other == NOTHING ? t->ours[r] : theirs.wall_s / ours.wall_s;
        t->cpu_ratio[r] = theirs.cpu_s / ours.cpu_s;
    }
    if (c->other == PREAD) close_plain(&p);
    free(sample);
}

/* Prints a line; whether the bound was met. */
static bool show(const contest *c, long rounds, tally *t) {
    double ratio = median(t->ratio, rounds);
    bool met = ratio >= c->least;
    printf("| %s | %s, %d thread%s | %.2f | ", c->id, c->what, c->job.threads, c->job.threads > 1 ? "s" : "",
           median(t->ours, rounds));
    if (c->other == NOTHING)
        printf("- | - | - | >= %.1f GB/s", c->least);
    else
        printf("%s %.2f | %.2f (%.2f to %.2f) | %.2f | >= %.2f", other_text[c->other], median(t->other, rounds), ratio,
               t->ratio[rounds / 4], t->ratio[rounds - 1 - rounds / 4], median(t->cpu_ratio, rounds), c->least);
    printf(" | %s |\n", met ? "met" : "MISSED");
    fflush(stdout);
    return met;
}

static bool run_contest(const contest *c, const settings *s) {
    char path[4096];
    tally t;
    double **lists[] = {&t.ours, &t.other, &t.ratio, &t.cpu_ratio};
    for (int i = 0; i < 4; i++) *lists[i] = checked(malloc((size_t)s->rounds * sizeof(double)));
    rate_file_path(s->folder, c->job.file, path, sizeof path);
    dpt_dataset *dataset = rate_file_open(path, c->job.file, &s->sizes);
    if (dataset == NULL) fail(path);
    run_rounds(c, s->rounds, dataset, path, &t);
    bool met = show(c, s->rounds, &t);
    dpt_dataset_close(&dataset);
    for (int i = 0; i < 4; i++) free(*lists[i]);
    return met;
}

/* ---- what is read ---- */

/* Bytes that this process has asked files for; 0: the system does not say. */
static uint64_t bytes_read(void) {
    unsigned long long bytes = 0;
    FILE *io = fopen("/proc/self/io", "r");
    if (io == NULL || fscanf(io, "rchar: %llu", &bytes) != 1) bytes = 0;
    if (io) fclose(io);
    return bytes;
}

/* Whether the ranks of a job together read each byte of the chunks once an epoch. They take turns here. */
static bool count_reads(rate_file file, const char *what, const settings *s) {
    char path[4096];
    const job j = {file, true, WINDOW, 1};
    rate_file_path(s->folder, file, path, sizeof path);
    dpt_dataset *dataset = rate_file_open(path, file, &s->sizes);
    if (dataset == NULL) fail(path);
    const dpt_index_part *part = &dpt_dataset_index(dataset)->part[0];
    uint64_t stored = 0, before = bytes_read();
    for (uint64_t i = 0; i < part->chunks; i++) stored += part->chunk[i].bytes;
    for (int rank = 0; rank < RANKS; rank++) {
        dpt_loader *loader = open_loader(dataset, &j, 1, rank, RANKS);
        const dpt_batch *batch;
        while (dpt_loader_next(loader, &batch) == DPT_OK && batch) dpt_loader_release(loader);
        dpt_loader_destroy(&loader);
    }
    double times = (double)(bytes_read() - before) / (double)stored;
    bool met = before > 0 && times < 1.0001;
    printf("| D2 | %s, bytes read by %d ranks | %.3f of the chunks' | - | - | - | once | %s |\n", what, RANKS, times,
           met ? "met" : "MISSED");
    dpt_dataset_close(&dataset);
    return met;
}

static bool wanted(const char *id, int count, char **ids) {
    for (int i = 0; i < count; i++)
        if (strcmp(id, ids[i]) == 0) return true;
    return count == 0;
}

static bool read_option(settings *s, const char *word) {
    long *number = strncmp(word, "rounds=", 7) == 0  ? &s->rounds
                   : strncmp(word, "mib=", 4) == 0   ? &s->sizes.mib
                   : strncmp(word, "width=", 6) == 0 ? &s->sizes.width
                                                     : NULL;
    char *after;
    if (number == NULL) return false;
    *number = strtol(strchr(word, '=') + 1, &after, 10);
    return *after == 0 && *number > 0 && *number <= 1 << 20;
}

int main(int argc, char **argv) {
    settings s = {.folder = argv[1], .rounds = 11, .sizes = {.mib = 512, .width = 3072}};
    int at = 2, ran = 0;
    bool met = true;
    while (at < argc && read_option(&s, argv[at])) at++;
    if (argc < 2 || s.rounds > MOST_ROUNDS || (at < argc && strchr(argv[at], '=')))
        return fprintf(stderr, "usage: data_rate FOLDER [rounds=N] [mib=N] [width=N] ID...\n"), 64;
    for (size_t i = 0; i < sizeof contests / sizeof *contests; i++) {
        if (!wanted(contests[i].id, argc - at, argv + at)) continue;
        met &= run_contest(&contests[i], &s);
        ran++;
    }
    if (ran == 0) return fprintf(stderr, "data_rate: %s is none of D1, D2, D3, D4, D5\n", argv[at]), 64;
    if (wanted("D2", argc - at, argv + at)) {
        met &= count_reads(RATE_CHUNKED, "chunks of whole rows", &s);
        met &= count_reads(RATE_CUT, "chunks that cut rows", &s);
        met &= count_reads(RATE_DEFLATED, "deflated chunks", &s);
    }
    return met ? 0 : 1;
}
