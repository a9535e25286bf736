/* Samples of what moves elements: transpose, concat, slice, pad, gather and its sum: see op_samples.h. */
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

#define ORDER(...) ((const int[]){__VA_ARGS__})
static dpt_tensor *transpose(sample_build *b) { return dpt_transpose(any(b, DIMS(B, 2, 3, 5)), ORDER(0, 3, 1, 2)); }
static dpt_tensor *transpose_fixed(sample_build *b) { return dpt_transpose(any(b, DIMS(5, 2, 4)), ORDER(2, 1, 0)); }
static dpt_tensor *concat(sample_build *b) {
    dpt_tensor *x[] = {any(b, DIMS(B, 2, 3)), any(b, DIMS(B, 1, 3)), any(b, DIMS(B, 4, 3))};
    return dpt_concat(x, 3, 1);
}
static dpt_tensor *concat_last(sample_build *b) {
    dpt_tensor *x[] = {any(b, DIMS(B, 2, 4)), any(b, DIMS(B, 2, 8))};
    return dpt_concat(x, 2, 2);
}
static dpt_tensor *slice(sample_build *b) { return dpt_slice(any(b, DIMS(B, 6, 3)), 1, 1, 5, 1); }
static dpt_tensor *slice_by(sample_build *b) { return dpt_slice(any(b, DIMS(B, 2, 9)), 2, 1, 8, 3); }
static dpt_tensor *pad(sample_build *b) { return dpt_pad(any(b, DIMS(B, 2, 3)), 2, 1, 2, 0.5); }
static dpt_tensor *pad_channels(sample_build *b) { return dpt_pad(any(b, DIMS(B, 2, 4)), 1, 2, 0, -1); }
/* Largest and smallest: by transpose and max-pooling. */
static dpt_tensor *max_middle(sample_build *b) { return dpt_max(any(b, DIMS(B, 3, 2)), 2, 1); }
static dpt_tensor *min_fixed(sample_build *b) { return dpt_min(any(b, DIMS(2, 3, 4)), 5, 0); }

static const op_sample rows_of_table[] = {
    CLOSED(TRANSPOSE, "transpose", transpose),
    CLOSED(TRANSPOSE, "transpose, no batch", transpose_fixed),
    CLOSED(CONCAT, "concat of channels", concat),
    CLOSED(CONCAT, "concat of positions", concat_last),
    CLOSED(SLICE, "slice", slice),
    CLOSED(SLICE, "slice by 3", slice_by),
    CLOSED(PAD, "pad", pad),
    CLOSED(PAD, "pad of channels", pad_channels),
    CLOSED(TRANSPOSE, "max", max_middle),
    CLOSED(TRANSPOSE, "min", min_fixed),
    CLOSED(GATHER, "gather, one index", gather_shared),
    CLOSED(GATHER, "gather, an index a sample", gather_each),
    CLOSED(GATHER, "gather from a table", gather_table),
    CLOSED(SCATTER_ADD, "scatter_add", scatter_each),
};
SAMPLE_FAMILY(arrange)
