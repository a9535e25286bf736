/* read_cost.c: see read_cost.h. A band is the chunks that lie beside each other across a sample: they are decoded
 * together, for each row of the band that is not in the cache. */
#include "data/read_cost.h"

#include "data/dataset_private.h"
#include "data/node_cache.h"
#include "data/part_scan.h"

/* Bands that a selection leaves rows of. */
static uint64_t count_bands(const dpt_index_part *part, const dpt_index_file *file, const dpt_selection *selection) {
    uint64_t bands = 0, before = dpt_selection_rank(selection, file->first_row);
    for (uint64_t at = 0, rows; at < file->rows; at += rows) {
        rows = part->chunk_dim[0] < file->rows - at ? part->chunk_dim[0] : file->rows - at;
        uint64_t after = dpt_selection_rank(selection, file->first_row + at + rows);
        bands += after > before;
        before = after;
    }
    return bands;
}

/* Sequences: the chunks that hold their steps, with as many samples each as steps and samples are. */
static dpt_read_cost cost_of_steps(const dpt_dataset *dataset, const dpt_dataset *steps, const dpt_selection *part) {
    dpt_read_cost cost = dpt_read_cost_find(steps, NULL);
    cost.rows_per_chunk *= (double)dpt_part_rows(dataset, part) / (double)dpt_dataset_rows(steps);
    return cost;
}

dpt_read_cost dpt_read_cost_find(const dpt_dataset *dataset, const dpt_selection *selection) {
    const dpt_index *index = dpt_dataset_index(dataset);
    double all = 0, weighted = 0;
    for (int p = 0; p < index->files * index->fields; p++) {
        const dpt_index_part *part = &index->part[p];
        const dpt_index_file *file = &index->file[p / index->fields];
        if (part->chunks == 0 || !dpt_chunks_are_decoded(&index->field[p % index->fields], part)) continue;
        uint64_t bands = part->grid[0], rows = file->rows;
        if (selection) {
            bands = count_bands(part, file, selection);
            rows = dpt_selection_rank(selection, file->first_row + file->rows) -
                   dpt_selection_rank(selection, file->first_row);
        }
        if (bands == 0) continue;
        double bytes = (double)bands * (double)(part->chunks / part->grid[0]) * (double)part->chunk_bytes;
        all += bytes;
        weighted += bytes * ((double)rows / (double)bands);
    }
    for (int i = 0; dataset->sequence && i < dataset->sequences; i++) {
        if (dataset->sequence[i].steps == NULL) continue;
        dpt_read_cost cost = cost_of_steps(dataset, dataset->sequence[i].steps, selection);
        all += (double)cost.bytes;
        weighted += (double)cost.bytes * cost.rows_per_chunk;
    }
    return (dpt_read_cost){.bytes = all < 0x1p62 ? (uint64_t)all : (uint64_t)1 << 62,
                           .rows_per_chunk = all > 0 ? weighted / all : 0};
}

double dpt_read_cost_decodes(const dpt_read_cost *cost, uint64_t cache_bytes) {
    if (cost->bytes <= cache_bytes) return 0;
    return cost->rows_per_chunk * (1 - (double)cache_bytes / (double)cost->bytes);
}
