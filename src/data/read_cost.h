/* read_cost.h: what it costs to take rows from anywhere in a dataset whose chunks must be decoded whole (those with
 * filters, or cut across the axes of a sample), to say so before training begins. Other rows are read as they are
 * wanted, each once, and cost nothing here. All functions are local. */
#ifndef DPT_DATA_READ_COST_H
#define DPT_DATA_READ_COST_H

#include "data/dataset.h"
#include "data/selection.h"

typedef struct dpt_read_cost {
    uint64_t bytes;        /* of all chunks with rows of the part, decoded; 0: there are none */
    double rows_per_chunk; /* of the part, in the mean over those bytes */
} dpt_read_cost;

/* Of all fields together; selection NULL: of all samples. */
dpt_read_cost dpt_read_cost_find(const dpt_dataset *dataset, const dpt_selection *selection);

/* How often a chunk is decoded, about, in an epoch in which ranks each take their share of the rows from anywhere and
 * keep cache_bytes of decoded chunks: of c bytes kept of all T, the chunk of a row is not there with probability
 * 1 - c/T. 0: all are kept (or there are none), and each rank decodes what it comes across once in all epochs. */
double dpt_read_cost_decodes(const dpt_read_cost *cost, uint64_t cache_bytes);

#endif
