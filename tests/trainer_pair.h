/* trainer_pair.h: for tests over ranks: the same graph trained by all ranks, each with its share of a batch, and by
 * this rank alone, on MPI_COMM_SELF, with the whole batch. What both must agree on needs no other reference.
 *
 *   trainer_pair p;
 *   if (!trainer_pair_open(&p, build, &options)) return;
 *   trainer_pair_gradient(&p, whole, n, turn, NULL, NULL);
 *   trainer_pair_check_gradients(&p, 1e-6);
 *   trainer_pair_close(&p); */
#ifndef DPT_TESTS_TRAINER_PAIR_H
#define DPT_TESTS_TRAINER_PAIR_H

#include "check.h"
#include "dptrain/dptrain.h"

typedef void (*trainer_build_fn)(dpt_graph *g);

typedef struct trainer_side {
    dpt_context *ctx;
    dpt_graph *graph;
    dpt_trainer *trainer;
} trainer_side;

typedef struct trainer_pair {
    trainer_side all, alone;
} trainer_pair;

/* How a batch is cut over ranks, by turn: 0 evenly, 1 rank r gets parts in proportion to r + 1, 2 the same with rank
 * world/2 empty, 3 the other way round with rank 0 empty (where there is more than one rank). */
enum { SHARE_EVEN, SHARE_UNEVEN, SHARE_ONE_EMPTY, SHARE_FIRST_EMPTY };
void share_of(int64_t rows, int turn, int64_t *begin, int64_t *count);
/* Opens a CPU context over comm with that many threads, builds, creates the trainer. Collective. */
bool trainer_side_open(trainer_side *s, MPI_Comm comm, int threads, trainer_build_fn build,
                       const dpt_trainer_options *options);
void trainer_side_close(trainer_side *s);
/* This rank's part of arrays; one without a batch dimension has rows -1 and goes to every rank as it is. */
void share_arrays(const trainer_side *s, const dpt_array *whole, int n, int turn, dpt_array *mine);

bool trainer_pair_open(trainer_pair *p, trainer_build_fn build, const dpt_trainer_options *options);
void trainer_pair_close(trainer_pair *p);

/* dpt_trainer_step that waits for its own metrics, which a device hands out later. Collective. */
dpt_status trainer_step_now(dpt_trainer *t, const dpt_array *in, int n_in, dpt_metrics *metrics);
/* dpt_trainer_gradient, or dpt_trainer_step, on both sides; metrics may be NULL. */
bool trainer_pair_gradient(trainer_pair *p, const dpt_array *whole, int n, int turn, dpt_metrics *all,
                           dpt_metrics *alone);
bool trainer_pair_step(trainer_pair *p, const dpt_array *whole, int n, int turn, dpt_metrics *all, dpt_metrics *alone);
/* Every trained parameter's gradient, and every parameter: ||a - b|| / ||b|| within tolerance. */
void trainer_pair_check_gradients(trainer_pair *p, double tolerance);
void trainer_pair_check_parameters(trainer_pair *p, double tolerance);
/* The same of any two trainers of one graph; `against` names b in a message. */
void trainer_sides_check(const trainer_side *a, const trainer_side *b, dpt_what what, double tolerance,
                         const char *against);
/* ||a - b|| / ||b|| of one value of two trainers of one graph. */
double trainer_distance(const trainer_side *a, const trainer_side *b, dpt_what what, const char *name);

/* Numbers in [-1, 1) that depend on name and index alone. */
void fill_f32(const char *name, float *values, int64_t n);
void fill_f64(const char *name, double *values, int64_t n);
/* A batch of its own for each step: x [rows, in] as above, t [rows, out] the products of x's first column with each. */
void fill_products(int step, int64_t rows, int in, int out, float *x, float *t);

/* Host arrays of a batch. */
static inline dpt_array array_f32(const char *name, const float *data, int64_t rows) {
    return (dpt_array){name, data, DPT_F32, DPT_HOST, rows, NULL};
}
static inline dpt_array array_f64(const char *name, const double *data, int64_t rows) {
    return (dpt_array){name, data, DPT_F64, DPT_HOST, rows, NULL};
}

#endif
