/* Samples of what moves elements: gather and its sum: see op_samples.h. */
#include "samples/samples.h"

/* Three of five elements of every sample, the same for all; one is taken twice by chance. */
static dpt_tensor *gather_shared(sample_build *b) {
    return dpt_gather(any(b, DIMS(B, 2, 5, 3)), sample_integer(b, DPT_I32, DIMS(4), 5), 2);
}
static dpt_tensor *gather_each(sample_build *b) {
    return dpt_gather(any(b, DIMS(B, 5, 4)), sample_integer(b, DPT_I64, DIMS(B, 3), 5), 1);
}
/* An embedding: rows of a table for each sample. */
static dpt_tensor *gather_table(sample_build *b) {
    return dpt_gather(any(b, DIMS(6, 4)), sample_integer(b, DPT_U8, DIMS(B, 3), 6), 0);
}
static dpt_tensor *scatter_each(sample_build *b) {
    dpt_tensor *g = any(b, DIMS(B, 3, 4));
    return dpt_scatter_add_at(DPT_HERE, g, sample_integer(b, DPT_I32, DIMS(B, 3), 5), 1, 5, false);
}

static const op_sample rows_of_table[] = {
    CLOSED(GATHER, "gather, one index", gather_shared),
    CLOSED(GATHER, "gather, an index a sample", gather_each),
    CLOSED(GATHER, "gather from a table", gather_table),
    CLOSED(SCATTER_ADD, "scatter_add", scatter_each),
};
SAMPLE_FAMILY(arrange)
