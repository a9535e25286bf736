/* init.h: the first values of parameters. */
#ifndef DPT_GRAPH_INIT_H
#define DPT_GRAPH_INIT_H

#include "dptrain/graph.h"

/* Fills out (f32 or f64, C order) as init says. Element i takes its number from quad i/4 of row 0, step 0 of the key
 * made of name and seed (base/random.h); redraws of the truncated normal take steps 1, 2, ... So values depend on
 * name, seed, shape and init alone, and an f32 fill is the f64 fill rounded (never up to the open end of a range).
 * fan_in is the product of dim[1..], fan_out is dim[0] times the product of dim[2..]. Local. DPT_ERR_ARG: numbers that
 * make no sense; fewer than two dimensions where fans or orthogonality need them; neither f32 nor f64.
 * DPT_ERR_UNSUPPORTED: more than 2^34 elements. DPT_ERR_MEMORY. */
dpt_status dpt_init_fill(const char *name, dpt_init init, dpt_dtype dtype, int ndim, const int64_t *dim, uint64_t seed,
                         void *out);

#endif
