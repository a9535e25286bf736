/* read_cost.h: what it costs to take rows from anywhere in a dataset whose chunks must be decoded whole (those with
 * filters, or cut across the axes of a sample), to say so before training begins. Other rows are read as they are
 * wanted, each once, and cost nothing here. */
#ifndef DPT_DATA_READ_COST_H
#define DPT_DATA_READ_COST_H

#include "data/dataset.h"
#include "data/selection.h"

typedef struct dpt_read_cost {
    uint64_t rows, chunks; /* of the part, in chunks that must be decoded; those chunks: of all fields together */
    uint64_t bytes;        /* of all those chunks, decoded */
    double decodes;        /* how often one of them is decoded in an epoch, about; 0: there are none */
} dpt_read_cost;

/* For an epoch in which `world` ranks each take their share of the part's rows (selection NULL: all) from anywhere, and
 * each keeps cache_bytes of decoded chunks. Of c bytes that are kept of all T, a row is found with probability c/T; but
 * every rank decodes what it comes across once. Local. */
dpt_read_cost dpt_read_cost_find(const dpt_dataset *dataset, const dpt_selection *selection, int world,
                                 uint64_t cache_bytes);

#endif
