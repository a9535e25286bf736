/* part_scan.h: goes once over a field of a part of the samples, in the order of the files, whatever wants to know about
 * all of it before training: moments, weights, labels. The samples are cut into blocks at chunks, so that each chunk is
 * read by one rank, once; which blocks there are depends on the dataset alone, so that what is found block by block and
 * joined in their order has the same bits at every number of ranks.
 *
 *   dpt_scan scan = {.dataset = dataset, .field = 1, .dtype = DPT_I64, .selection = part, .most_blocks = 1024};
 *   DPT_TRY(dpt_control_agree(control, dpt_scan_share(&scan, control->rank, control->world, count, counts))); */
#ifndef DPT_DATA_PART_SCAN_H
#define DPT_DATA_PART_SCAN_H

#include "backend/control.h"
#include "data/convert.h"
#include "data/dataset.h"
#include "data/selection.h"

typedef struct dpt_scan {
    const dpt_dataset *dataset;
    int field;
    dpt_dtype dtype;                /* as values are wanted: DPT_F64 or DPT_I64 */
    const dpt_normalise *normalise; /* NULL: none */
    const dpt_selection *selection; /* NULL: all samples */
    uint64_t most_blocks;           /* at least 1 */
} dpt_scan;

/* Values [rows, elements of a sample] of rows [row, row + rows) of the part, in some block; in their order within a
 * block, and always in the same pieces. Behind the end of a sequence (dpt_dataset_lengths) stands anything. */
typedef dpt_status (*dpt_scan_fn)(void *user, uint64_t block, uint64_t row, int64_t rows, const void *values);

/* Blocks that there are: 1 to most_blocks. Local. */
uint64_t dpt_scan_blocks(const dpt_scan *scan);
/* Reads a rank's share of the blocks: floor(rM/R) to floor((r+1)M/R)-1 of M. Keeps decoded a row of chunks, or 256 MiB
 * of it (of samples of different lengths 64 MiB), and two pieces of 1 MiB, or of a sample where that is more. Local.
 * Errors of reading and conversion, as of a loader (file, dataset, sample, value), and those of fn. DPT_ERR_MEMORY. */
dpt_status dpt_scan_share(const dpt_scan *scan, int rank, int world, dpt_scan_fn fn, void *user);

/* A field of one value a sample, of all rows of the part: out [rows], of scan->dtype, on all ranks. Every rank reads
 * its share. Collective. Errors on all ranks: as dpt_scan_share; DPT_ERR_SHAPE: more than one value a sample. */
dpt_status dpt_scan_column(const dpt_control *control, const dpt_scan *scan, void *out);

/* Rows of a part. Local. */
uint64_t dpt_part_rows(const dpt_dataset *dataset, const dpt_selection *selection);

#endif
