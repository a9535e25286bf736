/* read_cost.c: see read_cost.h. A band is the chunks that lie beside each other across a sample: they are decoded
 * together, for each row of the band that is not in the cache. */
#include "data/read_cost.h"

#include <math.h>

#include "data/dataset_index.h"

/* Of one field. */
typedef struct field_cost {
    double rows, bands, chunks, bytes;
} field_cost;

static bool is_decoded_whole(const dpt_index_part *part, const dpt_field *field) {
    bool cut = false;
    if (part->storage != DPT_STORAGE_CHUNKED) return false;
    for (int k = 0; k < field->ndim; k++) cut |= part->chunk_dim[k + 1] < (uint64_t)field->dim[k];
    return cut || part->pipeline.count > 0;
}

static uint64_t rows_before(const dpt_selection *selection, uint64_t sample) {
    return selection ? dpt_selection_rank(selection, sample) : sample;
}

static void add_file(const dpt_index_part *part, const dpt_index_file *file, const dpt_selection *selection,
                     field_cost *cost) {
    const double in_band = (double)(part->chunks / part->grid[0]);
    uint64_t before = rows_before(selection, file->first_row);
    for (uint64_t at = 0, rows; at < file->rows; at += rows) {
        rows = part->chunk_dim[0] < file->rows - at ? part->chunk_dim[0] : file->rows - at;
        uint64_t after = rows_before(selection, file->first_row + at + rows);
        if (after > before) {
            cost->rows += (double)(after - before);
            cost->bands++;
            cost->chunks += in_band;
            cost->bytes += in_band * (double)part->chunk_bytes;
        }
        before = after;
    }
}

static field_cost cost_of(const dpt_index *index, int field, const dpt_selection *selection) {
    field_cost cost = {0};
    for (int f = 0; f < index->files; f++) {
        const dpt_index_part *part = &index->part[(size_t)f * (size_t)index->fields + (size_t)field];
        if (is_decoded_whole(part, &index->field[field].about)) add_file(part, &index->file[f], selection, &cost);
    }
    return cost;
}

dpt_read_cost dpt_read_cost_find(const dpt_dataset *dataset, const dpt_selection *selection, int world,
                                 uint64_t cache_bytes) {
    const dpt_index *index = dpt_dataset_index(dataset);
    dpt_read_cost all = {0};
    double bytes = 0, decoded = 0;
    for (int i = 0; i < index->fields; i++) bytes += cost_of(index, i, selection).bytes;
    const double missed = bytes > (double)cache_bytes ? 1 - (double)cache_bytes / bytes : 0;
    for (int i = 0; i < index->fields; i++) {
        field_cost c = cost_of(index, i, selection);
        if (c.bands == 0) continue;
        double first = world * (1 - exp(-c.rows / world / c.bands)), again = missed * c.rows / c.bands;
        decoded += c.bytes * (first > again ? first : again);
        all.rows += (uint64_t)c.rows;
        all.chunks += (uint64_t)c.chunks;
    }
    all.bytes = bytes < 0x1p62 ? (uint64_t)bytes : (uint64_t)1 << 62;
    all.decodes = bytes > 0 ? decoded / bytes : 0;
    return all;
}
