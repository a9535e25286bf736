/* part_scan.c: see part_scan.h. A unit is what is read at once: the rows of one chunk along the first axis, in a file
 * without chunks a row. Blocks are runs of units over all files, equal to one. */
#include "data/part_scan.h"

#include <string.h>

#include "base/memory.h"
#include "data/dataset_index.h"
#include "data/reader.h"
#include "data/sampler.h"

enum { PIECE_BYTES = 1 << 20, SEQUENCE_BYTES = 64 << 20 };
static const uint64_t MOST_CACHE_BYTES = 256 << 20;

typedef struct scanner {
    const dpt_scan *scan;
    dpt_field field;      /* as wanted */
    uint64_t *first_unit; /* [files + 1] */
    uint64_t blocks;
    uint64_t row_bytes;
    int64_t piece_rows;
    dpt_convert *convert;
    dpt_reader *reader;
    char *stored, *values;
} scanner;

uint64_t dpt_part_rows(const dpt_dataset *dataset, const dpt_selection *selection) {
    return selection ? dpt_selection_rows(selection) : dpt_dataset_rows(dataset);
}

static uint64_t unit_rows(const dpt_scan *scan, int file) {
    uint64_t rows = dpt_dataset_chunk_rows(scan->dataset, file, scan->field);
    return rows > 0 ? rows : 1;
}

static uint64_t units_of(const dpt_scan *scan, int file) {
    uint64_t rows = dpt_dataset_file_rows(scan->dataset, file), unit = unit_rows(scan, file);
    return rows / unit + (rows % unit != 0);
}

uint64_t dpt_scan_blocks(const dpt_scan *scan) {
    uint64_t units = 0;
    for (int f = 0; f < dpt_dataset_file_count(scan->dataset) && units < scan->most_blocks; f++)
        units += units_of(scan, f);
    return units < scan->most_blocks ? units : scan->most_blocks;
}

/* The sample that a block begins with; of block `blocks` the end. */
static uint64_t block_start(const scanner *s, uint64_t block) {
    const dpt_index *index = dpt_dataset_index(s->scan->dataset);
    const uint64_t units = s->first_unit[index->files];
    const uint64_t unit = (uint64_t)((unsigned __int128)units * block / s->blocks);
    if (unit == units) return index->rows;
    int low = 0, high = index->files - 1; /* the last file that begins at or before the unit */
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (s->first_unit[middle] <= unit)
            low = middle;
        else
            high = middle - 1;
    }
    return index->file[low].first_row + (unit - s->first_unit[low]) * unit_rows(s->scan, low);
}

/* The first row of the part at or after a block's start. */
static uint64_t first_row(const scanner *s, uint64_t block) {
    uint64_t sample = block_start(s, block);
    return s->scan->selection ? dpt_selection_rank(s->scan->selection, sample) : sample;
}

static uint64_t sample_of(const scanner *s, uint64_t row) {
    return s->scan->selection ? dpt_selection_sample(s->scan->selection, row) : row;
}

/* Chunks that lie beside each other across a sample are wanted again by the next piece. */
static uint64_t cache_bytes(const dpt_scan *scan) {
    const dpt_index *index = dpt_dataset_index(scan->dataset);
    uint64_t most = 0;
    if (dpt_dataset_field(scan->dataset, scan->field)->sequence) return SEQUENCE_BYTES;
    for (int f = 0; f < index->files; f++) {
        const dpt_index_part *part = &index->part[(size_t)f * (size_t)index->fields + (size_t)scan->field];
        if (part->storage != DPT_STORAGE_CHUNKED || part->grid[0] == 0) continue;
        uint64_t bytes;
        if (__builtin_mul_overflow(part->chunks / part->grid[0], part->chunk_bytes, &bytes)) return MOST_CACHE_BYTES;
        if (bytes > most) most = bytes;
    }
    return most < MOST_CACHE_BYTES ? most : MOST_CACHE_BYTES;
}

static void close_scanner(scanner *s) {
    dpt_convert_destroy(&s->convert);
    dpt_reader_destroy(&s->reader);
    dpt_free(s->first_unit);
    dpt_free(s->stored);
    dpt_free(s->values);
}

/* Where the blocks begin. Closed by the caller, after a failure too. */
static dpt_status cut_blocks(const dpt_scan *scan, scanner *s) {
    const int files = dpt_dataset_file_count(scan->dataset);
    *s = (scanner){.scan = scan, .blocks = dpt_scan_blocks(scan)};
    s->first_unit = dpt_alloc(((size_t)files + 1) * sizeof *s->first_unit);
    DPT_CHECK_ALLOC(s->first_unit);
    s->first_unit[0] = 0;
    for (int f = 0; f < files; f++) s->first_unit[f + 1] = s->first_unit[f] + units_of(scan, f);
    return DPT_OK;
}

static dpt_status open_scanner(const dpt_scan *scan, scanner *s) {
    uint64_t wanted, bytes;
    DPT_TRY(cut_blocks(scan, s));
    s->field = *dpt_dataset_field(scan->dataset, scan->field);
    s->field.dtype = scan->dtype;
    DPT_TRY(dpt_convert_create(&s->field, scan->normalise, &s->convert));
    s->row_bytes = (uint64_t)s->field.elements * s->field.stored.bytes;
    bool over = __builtin_mul_overflow((uint64_t)s->field.elements, dpt_dtype_size(scan->dtype), &wanted);
    bytes = wanted > s->row_bytes ? wanted : s->row_bytes;
    s->piece_rows = bytes > 0 && bytes < PIECE_BYTES ? (int64_t)(PIECE_BYTES / bytes) : 1;
    over |= __builtin_mul_overflow(bytes, (uint64_t)s->piece_rows, &bytes) || bytes > SIZE_MAX / 2;
    DPT_CHECK(!over, DPT_ERR_MEMORY, "%s: a sample of %lld values", s->field.path, (long long)s->field.elements);
    s->stored = dpt_alloc_aligned((size_t)bytes, 64);
    s->values = dpt_alloc_aligned((size_t)bytes, 64);
    if (!s->stored || !s->values) return DPT_ERR_MEMORY;
    return dpt_reader_create(scan->dataset, cache_bytes(scan), &s->reader);
}

/* Rows [row, row + rows) of the part as they are stored: samples that follow each other in one go. */
static dpt_status read_stored(scanner *s, uint64_t row, int64_t rows) {
    for (int64_t i = 0; i < rows;) {
        uint64_t sample = sample_of(s, row + (uint64_t)i);
        int64_t n = s->scan->selection ? 1 : rows;
        while (i + n < rows && sample_of(s, row + (uint64_t)(i + n)) == sample + (uint64_t)n) n++;
        DPT_TRY(
            dpt_reader_rows(s->reader, s->scan->field, sample, (uint64_t)n, s->stored + (uint64_t)i * s->row_bytes));
        i += n;
    }
    return DPT_OK;
}

/* A sample without a step has nothing to convert. */
static bool is_empty(const scanner *s, uint64_t row) {
    int64_t steps = 1;
    bool known = dpt_dataset_lengths(s->scan->dataset, s->scan->field, sample_of(s, row), 1, &steps) == DPT_OK;
    return known && steps == 0;
}

/* Samples of different lengths go one by one. What stands behind their ends converts where they do (sequence_rows.c).
 */
static dpt_status convert(const scanner *s, uint64_t row, int64_t rows) {
    const bool sequence = s->field.sequence;
    const int64_t elements = dpt_convert_elements(s->convert), step = sequence ? 1 : rows;
    for (int64_t i = 0; i < rows; i += step) {
        int64_t bad = 0;
        uint64_t in_file;
        const char *in = s->stored + (uint64_t)i * s->row_bytes;
        char *out = s->values + i * elements * (int64_t)dpt_dtype_size(s->field.dtype);
        if (sequence && is_empty(s, row + (uint64_t)i)) continue;
        if (dpt_convert_rows(s->convert, in, step, out, &bad) == DPT_OK) continue;
        uint64_t sample = sample_of(s, row + (uint64_t)(i + bad / elements));
        const char *file = dpt_dataset_locate(s->scan->dataset, sample, &in_file);
        return dpt_error_prefix(DPT_ERR_DATA, "%s: %s: sample %llu (row %llu of the file), element %lld: ", file,
                                s->field.path, (unsigned long long)sample, (unsigned long long)in_file,
                                (long long)(bad % elements));
    }
    return DPT_OK;
}

static dpt_status scan_block(scanner *s, uint64_t block, dpt_scan_fn fn, void *user) {
    for (uint64_t row = first_row(s, block), end = first_row(s, block + 1); row < end;) {
        int64_t rows = end - row < (uint64_t)s->piece_rows ? (int64_t)(end - row) : s->piece_rows;
        DPT_TRY(read_stored(s, row, rows));
        DPT_TRY(convert(s, row, rows));
        DPT_TRY(fn(user, block, row, rows, s->values));
        row += (uint64_t)rows;
    }
    return DPT_OK;
}

dpt_status dpt_scan_share(const dpt_scan *scan, int rank, int world, dpt_scan_fn fn, void *user) {
    scanner s;
    int64_t first, count;
    dpt_status status = open_scanner(scan, &s);
    dpt_share((int64_t)s.blocks, rank, world, &first, &count);
    for (int64_t b = first; b < first + count && status == DPT_OK; b++) status = scan_block(&s, (uint64_t)b, fn, user);
    close_scanner(&s);
    return status;
}

static dpt_status put(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values) {
    (void)block;
    memcpy((char *)user + row * 8, values, (size_t)rows * 8);
    return DPT_OK;
}

static dpt_status read_column(const dpt_control *control, const dpt_scan *scan, void *out) {
    const dpt_field *field = dpt_dataset_field(scan->dataset, scan->field);
    DPT_CHECK(field->elements == 1, DPT_ERR_SHAPE, "%s holds %lld values a sample, where one is wanted", field->path,
              (long long)field->elements);
    return dpt_scan_share(scan, control->rank, control->world, put, out);
}

_Static_assert(sizeof(double) == 8 && sizeof(int64_t) == 8, "a value of either wanted type has 8 bytes");

dpt_status dpt_scan_column(const dpt_control *control, const dpt_scan *scan, void *out) {
    scanner s = {0};
    dpt_status status = read_column(control, scan, out);
    if (status == DPT_OK) status = cut_blocks(scan, &s);
    status = dpt_control_agree(control, status);
    for (int rank = 0; rank < control->world && status == DPT_OK; rank++) {
        int64_t first, count;
        dpt_share((int64_t)s.blocks, rank, control->world, &first, &count);
        uint64_t begin = first_row(&s, (uint64_t)first), end = first_row(&s, (uint64_t)(first + count));
        if (end == begin) continue;
        status = dpt_control_broadcast(control, (char *)out + begin * 8, (size_t)(end - begin) * 8, rank);
    }
    close_scanner(&s);
    return status;
}
