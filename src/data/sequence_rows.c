/* sequence_rows.c: rows of sequences from their steps. What stands behind the end of a sample is the sample once more
 * (zeros where it is empty), values that convert where the sample's do, until conversion is over: then it is the pad.
 */
#include "data/sequence_rows.h"

#include <string.h>

#include "base/memory.h"
#include "data/dataset_private.h"

struct dpt_rows_maker {
    int fields;
    dpt_reader *steps[]; /* [field]; NULL: no sequences */
};

typedef unsigned __int128 wide;

static int count_sequences(const dpt_dataset *dataset) {
    int count = 0;
    for (int i = 0; dataset->sequence && i < dataset->sequences; i++) count += dataset->sequence[i].steps != NULL;
    return count;
}

void dpt_sequences_close(dpt_dataset *dataset) {
    for (int i = 0; dataset->sequence && i < dataset->sequences; i++) {
        dpt_dataset_close(&dataset->sequence[i].steps);
        if (dataset->sequence[i].owns_begin) dpt_free((void *)(uintptr_t)dataset->sequence[i].begin);
    }
    dpt_free(dataset->sequence);
    dataset->sequence = NULL;
}

static int64_t length_of(const dpt_sequence *s, uint64_t sample) {
    uint64_t n = s->begin[sample + 1] - s->begin[sample];
    return n < (uint64_t)s->length ? (int64_t)n : s->length;
}

dpt_status dpt_dataset_lengths(const dpt_dataset *dataset, int field, uint64_t first, uint64_t count, int64_t *length) {
    bool known = dataset->sequence && field >= 0 && field < dataset->index.fields && dataset->sequence[field].begin;
    DPT_CHECK(known, DPT_ERR_ARG, "field %d is not of sequences: its samples have no lengths", field);
    uint64_t rows = dataset->index.rows;
    DPT_CHECK(first <= rows && count <= rows - first, DPT_ERR_ARG, "samples %llu to %llu of a dataset of %llu",
              (unsigned long long)first, (unsigned long long)(first + count), (unsigned long long)rows);
    for (uint64_t i = 0; i < count; i++) length[i] = length_of(&dataset->sequence[field], first + i);
    return DPT_OK;
}

/* As many rows as make a chunk of steps, in the mean. */
uint64_t dpt_sequence_chunk_rows(const dpt_dataset *dataset, int file, int field) {
    const dpt_sequence *s = dataset->sequence ? &dataset->sequence[field] : NULL;
    if (s == NULL || s->steps == NULL) return 0;
    uint64_t chunk = dpt_dataset_chunk_rows(s->steps, file, 0), steps = dpt_dataset_file_rows(s->steps, file);
    uint64_t rows = dpt_dataset_file_rows(dataset, file);
    if (chunk == 0 || steps == 0) return 0;
    double mean = (double)steps / (double)rows;
    return chunk > mean ? (uint64_t)((double)chunk / mean) : 1;
}

/* ---- reading ---- */

static uint64_t steps_need(const dpt_dataset *dataset, int i) {
    const dpt_dataset *steps = dataset->sequence[i].steps;
    return steps ? dpt_node_cache_need(steps) : 0;
}

/* Steps of field i get of a cache what their chunks are of all that have to be decoded. */
static uint64_t share_of_cache(const dpt_dataset *dataset, int i, uint64_t cache_bytes) {
    wide all = dpt_node_cache_need(dataset);
    for (int k = 0; k < dataset->sequences; k++) all += steps_need(dataset, k);
    return all > 0 ? (uint64_t)((wide)cache_bytes * steps_need(dataset, i) / all) : 0;
}

uint64_t dpt_rows_maker_bytes(const dpt_dataset *dataset, uint64_t cache_bytes) {
    uint64_t bytes = 0;
    for (int i = 0; dataset->sequence && i < dataset->sequences; i++) bytes += share_of_cache(dataset, i, cache_bytes);
    return bytes;
}

dpt_status dpt_rows_maker_create(const dpt_dataset *dataset, uint64_t cache_bytes, const dpt_rows_maker *first,
                                 dpt_rows_maker **maker) {
    int fields = dataset->index.fields, count = count_sequences(dataset);
    *maker = NULL;
    if (count == 0) return DPT_OK;
    dpt_rows_maker *m = dpt_alloc_zero(1, sizeof *m + (size_t)fields * sizeof *m->steps);
    DPT_CHECK_ALLOC(m);
    m->fields = fields;
    dpt_status status = DPT_OK;
    for (int i = 0; i < fields && status == DPT_OK; i++) {
        const dpt_dataset *steps = dataset->sequence[i].steps;
        if (steps == NULL) continue;
        status = first ? dpt_reader_share(first->steps[i], &m->steps[i])
                       : dpt_reader_create(steps, share_of_cache(dataset, i, cache_bytes), &m->steps[i]);
    }
    *maker = m;
    if (status != DPT_OK) dpt_rows_maker_destroy(maker);
    return status;
}

void dpt_rows_maker_destroy(dpt_rows_maker **maker) {
    dpt_rows_maker *m = *maker;
    *maker = NULL;
    if (m == NULL) return;
    for (int i = 0; i < m->fields; i++) dpt_reader_destroy(&m->steps[i]);
    dpt_free(m);
}

void dpt_rows_maker_done(const dpt_rows_maker *maker, dpt_reader_work *sum) {
    for (int i = 0; maker && i < maker->fields; i++) {
        if (maker->steps[i] == NULL) continue;
        dpt_reader_work one = dpt_reader_done(maker->steps[i]);
        sum->bytes += one.bytes, sum->chunks += one.chunks, sum->retries += one.retries;
    }
}

static void fill_up(unsigned char *row, uint64_t bytes, uint64_t row_bytes) {
    if (bytes == 0) memset(row, 0, row_bytes);
    for (uint64_t n; bytes > 0 && bytes < row_bytes; bytes += n) {
        n = bytes < row_bytes - bytes ? bytes : row_bytes - bytes;
        memcpy(row + bytes, row, n);
    }
}

/* The steps of consecutive samples, none of them cut, are read as one, to the end of where the samples will be: there,
 * each lies at or behind its place until it is moved. */
static dpt_status read_together(const dpt_sequence *s, dpt_reader *steps, uint64_t row, uint64_t count,
                                uint64_t row_bytes, unsigned char *out) {
    uint64_t step_bytes = row_bytes / (uint64_t)s->length, all = s->begin[row + count] - s->begin[row];
    unsigned char *from = out + count * row_bytes - all * step_bytes;
    DPT_TRY(dpt_reader_rows(steps, 0, s->begin[row], all, from));
    for (uint64_t i = 0; i < count; i++, out += row_bytes) {
        uint64_t bytes = (s->begin[row + i + 1] - s->begin[row + i]) * step_bytes;
        memmove(out, from, bytes);
        from += bytes;
        fill_up(out, bytes, row_bytes);
    }
    return DPT_OK;
}

static dpt_status read_steps(const dpt_sequence *s, dpt_reader *steps, uint64_t row, uint64_t count, uint64_t row_bytes,
                             unsigned char *out) {
    bool cut = false;
    for (uint64_t i = 0; i < count; i++) cut |= s->begin[row + i + 1] - s->begin[row + i] > (uint64_t)s->length;
    if (!cut) return read_together(s, steps, row, count, row_bytes, out);
    for (uint64_t i = 0; i < count; i++, out += row_bytes) {
        uint64_t n = (uint64_t)length_of(s, row + i);
        DPT_TRY(dpt_reader_rows(steps, 0, s->begin[row + i], n, out));
        fill_up(out, n * (row_bytes / (uint64_t)s->length), row_bytes);
    }
    return DPT_OK;
}

dpt_status dpt_rows_make(const dpt_dataset *dataset, dpt_rows_maker *maker, int field, uint64_t row, uint64_t count,
                         void *out) {
    if (dataset->caller) return dpt_caller_rows(dataset, field, row, count, out);
    if (dataset->sequence[field].steps == NULL) return dpt_dataset_lengths(dataset, field, row, count, out);
    uint64_t row_bytes = dataset->index.field[field].row_bytes;
    dpt_status status = read_steps(&dataset->sequence[field], maker->steps[field], row, count, row_bytes, out);
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    return dpt_error_prefix(status, "samples %llu to %llu: ", (unsigned long long)row,
                            (unsigned long long)(row + count - 1));
}

/* ---- conversion ---- */

static void pad(dpt_dtype dtype, double value, int64_t n, void *out) {
    for (int64_t i = 0; i < n; i++) switch (dtype) {
            case DPT_F32: ((float *)out)[i] = (float)value; break;
            case DPT_F64: ((double *)out)[i] = value; break;
            case DPT_U8: ((uint8_t *)out)[i] = (uint8_t)value; break;
            case DPT_I32: ((int32_t *)out)[i] = (int32_t)value; break;
            default: ((int64_t *)out)[i] = (int64_t)value;
        }
}

dpt_status dpt_sequence_convert(const dpt_dataset *dataset, int field, const dpt_convert *convert, uint64_t sample,
                                const void *in, int64_t rows, void *out, int64_t *bad) {
    const dpt_field *about = dpt_dataset_field(dataset, field);
    const dpt_sequence *s = &dataset->sequence[field];
    int64_t elements = dpt_convert_elements(convert), of_step = elements / s->length;
    size_t size = dpt_dtype_size(about->dtype), in_bytes = (size_t)about->elements * about->stored.bytes;
    for (int64_t r = 0; r < rows; r++) {
        const char *from = (const char *)in + (size_t)r * in_bytes;
        char *to = (char *)out + (size_t)(r * elements) * size;
        int64_t n = length_of(s, sample + (uint64_t)r);
        dpt_status status = n > 0 ? dpt_convert_rows(convert, from, 1, to, bad) : DPT_OK;
        if (status != DPT_OK) {
            *bad += r * about->elements;
            return status;
        }
        pad(about->dtype, s->pad, (s->length - n) * of_step, to + (size_t)(n * of_step) * size);
    }
    return DPT_OK;
}
