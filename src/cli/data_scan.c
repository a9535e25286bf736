/* data_scan.c: see data_scan.h. Threads take blocks of some megabytes in turn, read and decode them and look at their
 * values side by side; what they found is joined, and the checksum carried on, in the order of the blocks.
 *
 * Invariant: only the thread whose block's turn it is touches the result. */
#include "cli/data_scan.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

enum { BLOCK_BYTES = 4 << 20, CACHE_BYTES = 64 << 20, MOST_THREADS = 64 };

dpt_status dpt_cli_scan_open(const char *file, const char *path, dpt_cli_scan *scan) {
    const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};
    const dpt_field_spec spec = {.name = "values", .path = path, .dtype = DPT_F64, .ndim = DPT_ANY_NDIM};
    *scan = (dpt_cli_scan){.threads = 1, .low = -HUGE_VAL, .high = HUGE_VAL};
    DPT_TRY(dpt_dataset_open(&alone, &file, 1, &spec, 1, &scan->dataset));
    scan->field = dpt_dataset_field(scan->dataset, 0);
    scan->rows = dpt_dataset_rows(scan->dataset);
    scan->row_bytes = (uint64_t)scan->field->elements * scan->field->stored.bytes;
    scan->chunk_rows = dpt_dataset_chunk_rows(scan->dataset, 0, 0);
    scan->rows_at_once = scan->row_bytes < BLOCK_BYTES ? BLOCK_BYTES / scan->row_bytes : 1;
    if (scan->chunk_rows > 0 && scan->rows_at_once > scan->chunk_rows)
        scan->rows_at_once -= scan->rows_at_once % scan->chunk_rows;
    if (scan->rows_at_once > scan->rows) scan->rows_at_once = scan->rows;
    dpt_status status = dpt_reader_create(scan->dataset, CACHE_BYTES, &scan->reader);
    if (status != DPT_OK) dpt_cli_scan_close(scan);
    return status;
}

void dpt_cli_scan_close(dpt_cli_scan *scan) {
    dpt_reader_destroy(&scan->reader);
    dpt_dataset_close(&scan->dataset);
    *scan = (dpt_cli_scan){.dataset = NULL};
}

/* ---- blocks ---- */

typedef struct scan_job {
    const dpt_cli_scan *scan;
    uint64_t rows, blocks;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    uint64_t next, turn; /* blocks: to be taken, to be joined */
    dpt_status status;   /* of the first block that ended the scan */
    char *message;
    dpt_checksum sum;
    dpt_cli_scan_result *result;
} scan_job;

/* One block, and what was found in it. */
typedef struct found {
    dpt_statistics statistics;
    uint64_t unreadable;
    char *message;
    dpt_status status;
} found;

static void keep_first(found *f, uint64_t rows) {
    if (f->unreadable == 0) f->message = dpt_strdup(dpt_last_error());
    f->unreadable += rows;
}

/* Rows [row, end), of which at least one cannot be read. Of a chunk all can be read or none. */
static void add_readable(const dpt_cli_scan *scan, dpt_reader *reader, uint64_t row, uint64_t end, char *buffer,
                         found *f) {
    const uint64_t elements = (uint64_t)scan->field->elements;
    for (uint64_t n; row < end; row += n, buffer += n * scan->row_bytes) {
        n = scan->chunk_rows > 0 ? scan->chunk_rows - row % scan->chunk_rows : 1;
        if (n > end - row) n = end - row;
        if (dpt_reader_rows(reader, 0, row, n, buffer) == DPT_OK) {
            dpt_statistics_add(&f->statistics, buffer, n * elements);
            continue;
        }
        dpt_statistics_skip(&f->statistics, n * elements);
        keep_first(f, n);
    }
}

static void look_at(const scan_job *job, dpt_reader *reader, uint64_t block, char *buffer, found *f) {
    const dpt_cli_scan *scan = job->scan;
    const uint64_t row = block * scan->rows_at_once, left = job->rows - row;
    const uint64_t n = left < scan->rows_at_once ? left : scan->rows_at_once;
    *f = (found){.statistics = dpt_statistics_begin(scan->field->stored)};
    f->statistics.low = scan->low;
    f->statistics.high = scan->high;
    f->status = dpt_reader_rows(reader, 0, row, n, buffer);
    if (f->status == DPT_OK) {
        dpt_statistics_add(&f->statistics, buffer, n * (uint64_t)scan->field->elements);
    } else if (scan->goes_on && f->status != DPT_ERR_MEMORY) {
        f->status = DPT_OK;
        add_readable(scan, reader, row, row + n, buffer, f);
    }
}

static void join(scan_job *job, uint64_t block, const char *buffer, found *f) {
    dpt_cli_scan_result *all = job->result;
    const uint64_t row = block * job->scan->rows_at_once, left = job->rows - row;
    const uint64_t n = left < job->scan->rows_at_once ? left : job->scan->rows_at_once;
    dpt_statistics_merge(&all->statistics, &f->statistics);
    dpt_checksum_add(&job->sum, buffer, n * job->scan->row_bytes);
    if (all->unreadable == 0) {
        all->first_message = f->message;
        f->message = NULL;
    }
    all->unreadable += f->unreadable;
}

/* Waits for the block's turn; false: the scan has ended before. */
static bool take_turn(scan_job *job, uint64_t block) {
    pthread_mutex_lock(&job->lock);
    while (job->turn != block && job->status == DPT_OK) pthread_cond_wait(&job->turned, &job->lock);
    bool mine = job->status == DPT_OK;
    pthread_mutex_unlock(&job->lock);
    return mine;
}

static void end_turn(scan_job *job, dpt_status status) {
    pthread_mutex_lock(&job->lock);
    job->turn++;
    if (status != DPT_OK) {
        job->status = status;
        job->message = dpt_strdup(dpt_last_error());
    }
    pthread_cond_broadcast(&job->turned);
    pthread_mutex_unlock(&job->lock);
}

static bool take_block(scan_job *job, uint64_t *block) {
    pthread_mutex_lock(&job->lock);
    bool more = job->status == DPT_OK && job->next < job->blocks;
    if (more) *block = job->next++;
    pthread_mutex_unlock(&job->lock);
    return more;
}

/* A thread that has no memory ends before it takes a block. */
static void *read_blocks(void *user) {
    scan_job *job = user;
    dpt_reader *reader = NULL;
    uint64_t block;
    char *buffer = dpt_alloc(job->scan->rows_at_once * job->scan->row_bytes);
    bool ready = buffer && dpt_reader_share(job->scan->reader, &reader) == DPT_OK;
    while (ready && take_block(job, &block)) {
        found f;
        look_at(job, reader, block, buffer, &f);
        if (take_turn(job, block)) {
            if (f.status == DPT_OK) join(job, block, buffer, &f);
            end_turn(job, f.status);
        }
        dpt_free(f.message);
    }
    dpt_reader_destroy(&reader);
    dpt_free(buffer);
    return NULL;
}

/* This thread reads too. */
static void run(scan_job *job) {
    pthread_t thread[MOST_THREADS];
    int wanted = job->scan->threads < MOST_THREADS ? job->scan->threads : MOST_THREADS, started = 0;
    while (started + 1 < wanted && (uint64_t)started + 1 < job->blocks &&
           pthread_create(&thread[started], NULL, read_blocks, job) == 0)
        started++;
    read_blocks(job);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
}

dpt_status dpt_cli_scan_rows(const dpt_cli_scan *scan, uint64_t rows, dpt_cli_scan_result *result) {
    scan_job job = {.scan = scan,
                    .rows = rows,
                    .blocks = rows / scan->rows_at_once + (rows % scan->rows_at_once != 0),
                    .lock = PTHREAD_MUTEX_INITIALIZER,
                    .turned = PTHREAD_COND_INITIALIZER,
                    .result = result};
    *result = (dpt_cli_scan_result){.statistics = dpt_statistics_begin(scan->field->stored)};
    result->statistics.low = scan->low;
    result->statistics.high = scan->high;
    dpt_checksum_begin(&job.sum);
    run(&job);
    result->checksum = dpt_checksum_value(&job.sum);
    dpt_status status = job.status;
    if (status != DPT_OK)
        dpt_error(status, "%s", job.message ? job.message : "out of memory");
    else if (job.turn < job.blocks)
        status = dpt_error(DPT_ERR_MEMORY, "out of memory: %s", scan->field->path);
    dpt_free(job.message);
    pthread_mutex_destroy(&job.lock);
    pthread_cond_destroy(&job.turned);
    if (status != DPT_OK) dpt_cli_scan_result_free(result);
    return status;
}

void dpt_cli_scan_result_free(dpt_cli_scan_result *result) {
    dpt_free(result->first_message);
    *result = (dpt_cli_scan_result){.unreadable = 0};
}

/* ---- one value ---- */

static void place_text(const dpt_field *field, uint64_t element, char *text, size_t bytes, size_t n) {
    uint64_t left = (uint64_t)field->elements;
    for (int i = 0; i < field->ndim; i++) {
        left /= (uint64_t)field->dim[i];
        n = dpt_append(text, bytes, n, i ? ",%llu" : " at [%llu", (unsigned long long)(element / left));
        element %= left;
    }
    dpt_append(text, bytes, n, "]");
}

dpt_status dpt_cli_scan_value(const dpt_cli_scan *scan, uint64_t place, double *value, char *where, size_t bytes) {
    const uint64_t elements = (uint64_t)scan->field->elements, row = place / elements, element = place % elements;
    dpt_statistics one = dpt_statistics_begin(scan->field->stored);
    char *values = dpt_alloc(scan->row_bytes);
    DPT_CHECK_ALLOC(values);
    dpt_status status = dpt_reader_rows(scan->reader, 0, row, 1, values);
    if (status == DPT_OK) dpt_statistics_add(&one, values + element * scan->field->stored.bytes, 1);
    dpt_free(values);
    DPT_TRY(status);
    *value = one.nans ? NAN : one.infinities ? HUGE_VAL : one.mean;
    size_t n = dpt_append(where, bytes, 0, "row %llu", (unsigned long long)row);
    if (elements > 1) place_text(scan->field, element, where, bytes, n);
    return DPT_OK;
}

void dpt_cli_scan_printable(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}
