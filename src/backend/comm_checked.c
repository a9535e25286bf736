/* comm_checked.c: see comm_checked.h.
 *
 * start copies the operand to the host before the inner communicator gets it; wait copies the result, sums the copies
 * of all ranks by MPI in f64, a part at a time, and compares. A sum of p numbers x_r in floating point is off by at
 * most (p-1) u sum|x_r| (Higham, Accuracy and Stability of Numerical Algorithms, 4.2), u being the unit roundoff: so
 * over a buffer the norm of the difference is at most p u (sum of the ranks' norms), where one more rounding is that to
 * the type summed in. Invariant: whether a step is checked, and what in it, depends on the step number and the
 * collective alone, so that all ranks make the same calls to MPI. */
#include "backend/comm_checked.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/numbers.h"

enum { PART = 1 << 16 };                             /* elements summed by one call */
static const uint64_t is_copied = (uint64_t)1 << 63; /* of a ticket: the number of its copy in the other bits */

/* A collective under way, and what this rank put into it. */
typedef struct copy {
    dpt_collective what;
    void *data, *host; /* host NULL: free */
    size_t count;
    dpt_dtype dtype;
    uint64_t inner_ticket, sequence;
} copy;

typedef struct checked_comm {
    dpt_comm inner;
    dpt_control control; /* of its own: the inner communicator may use its own from another thread */
    dpt_device *device;
    int64_t every;
    bool sum_bf16;
    copy *copies;
    int64_t n_copy, copy_capacity;
    double *mine, *sum; /* [PART] */
    /* of the step that is checked */
    int64_t compared;
    double largest, largest_allowed; /* relative errors */
    bool told;
} checked_comm;

static bool compares(const dpt_comm *comm, dpt_collective what, dpt_dtype dtype) {
    bool adds = what == DPT_ALL_REDUCE || what == DPT_REDUCE_SCATTER;
    bool floats = dtype == DPT_F32 || dtype == DPT_F64 || dtype == DPT_BF16 || dtype == DPT_F16;
    return comm->eager && adds && floats;
}

static double number_at(const void *data, dpt_dtype dtype, size_t i) {
    switch (dtype) {
        case DPT_F32: return (double)((const float *)data)[i];
        case DPT_F64: return ((const double *)data)[i];
        case DPT_BF16: return (double)dpt_f32_of_bf16(((const uint16_t *)data)[i]);
        default: return (double)dpt_f32_of_f16(((const uint16_t *)data)[i]);
    }
}

/* Largest relative error of one rounding. */
static double unit_roundoff(const checked_comm *c, dpt_dtype dtype) {
    if (dtype == DPT_BF16 || (dtype == DPT_F32 && c->sum_bf16)) return 0x1p-8;
    if (dtype == DPT_F16) return 0x1p-11;
    return dtype == DPT_F64 ? 0x1p-52 : 0x1p-24; /* f64: the sum that it is compared with is no better */
}

/* ---- start ---- */

static dpt_status free_copy(checked_comm *c, copy **found) {
    for (int64_t i = 0; i < c->n_copy; i++)
        if (c->copies[i].host == NULL) {
            *found = &c->copies[i];
            return DPT_OK;
        }
    DPT_GROW(c->copies, c->n_copy, c->copy_capacity);
    *found = &c->copies[c->n_copy++];
    **found = (copy){0};
    return DPT_OK;
}

static dpt_status take_copy(checked_comm *c, const copy *of, size_t bytes, dpt_stream *stream, copy **found) {
    DPT_TRY(free_copy(c, found));
    void *host = dpt_alloc(bytes);
    DPT_CHECK_ALLOC(host);
    **found = *of;
    (*found)->host = host;
    DPT_TRY(c->device->ops->copy_out(c->device, host, of->data, bytes, stream));
    return c->device->ops->stream_sync(c->device, stream);
}

static dpt_status checked_start(dpt_comm *comm, dpt_collective what, void *data, size_t count, dpt_dtype dtype,
                                dpt_stream *stream, uint64_t *ticket) {
    checked_comm *c = comm->state;
    c->inner.sequence = comm->sequence;
    c->inner.position = comm->position;
    if (!compares(comm, what, dtype)) return c->inner.ops->start(&c->inner, what, data, count, dtype, stream, ticket);
    copy mine = {.what = what, .data = data, .count = count, .dtype = dtype, .sequence = comm->sequence}, *at = NULL;
    size_t bytes = dpt_collective_bytes(what, count, dtype, comm->world);
    DPT_TRY(dpt_control_agree(&c->control, take_copy(c, &mine, bytes, stream, &at)));
    *ticket = is_copied | (uint64_t)(at - c->copies);
    return c->inner.ops->start(&c->inner, what, data, count, dtype, stream, &at->inner_ticket);
}

/* ---- wait ---- */

typedef struct comparison {
    double error2, sum2; /* squared norms: of the difference, of the sum */
    double allowed;      /* largest norm of the difference */
    int64_t odd;         /* elements where one of the two is a number and the other is not */
} comparison;

/* Elements [first, first + n) of the operand: summed over ranks into c->sum. */
static dpt_status sum_part(checked_comm *c, const copy *at, size_t first, size_t n) {
    for (size_t i = 0; i < n; i++) c->mine[i] = number_at(at->host, at->dtype, first + i);
    return DPT_MPI(MPI_Allreduce(c->mine, c->sum, (int)n, MPI_DOUBLE, MPI_SUM, c->control.comm));
}

/* Sums of numbers this large may overflow in one order and not in another. */
static double largest_of(dpt_dtype dtype) {
    if (dtype == DPT_F16) return 65504;
    return dtype == DPT_F64 ? DBL_MAX : (double)FLT_MAX;
}

/* result: what the inner communicator left of the whole operand. [begin, end): the part of it that is this rank's. */
static dpt_status compare_all(checked_comm *c, const copy *at, const void *result, size_t begin, size_t end, size_t all,
                              comparison *found) {
    double norm = 0;
    for (size_t i = 0; i < all; i++) {
        double x = number_at(at->host, at->dtype, i);
        norm += x * x;
    }
    norm = sqrt(norm);
    DPT_TRY(dpt_control_sum_f64(&c->control, &norm, 1));
    found->allowed = c->control.world * unit_roundoff(c, at->dtype) * norm;
    bool overflows = !(norm < largest_of(at->dtype));
    for (size_t first = 0; first < all; first += PART) {
        size_t n = all - first < PART ? all - first : PART;
        DPT_TRY(sum_part(c, at, first, n));
        for (size_t i = first; i < first + n; i++) {
            if (i < begin || i >= end) continue;
            double want = c->sum[i - first], got = number_at(result, at->dtype, i);
            if (isfinite(want) && isfinite(got)) {
                found->error2 += (got - want) * (got - want);
                found->sum2 += want * want;
            } else if (isfinite(want) != isfinite(got) && !overflows) {
                found->odd++;
            }
        }
    }
    return DPT_OK;
}

/* Of a norm in which there are numbers that are not finite nothing is known. */
static dpt_status judge(checked_comm *c, const dpt_comm *comm, const copy *at, const comparison *f) {
    double error = sqrt(f->error2), sum = sqrt(f->sum2);
    c->compared++;
    if (sum > 0 && error / sum >= c->largest) {
        c->largest = error / sum;
        c->largest_allowed = f->allowed / sum;
    }
    DPT_CHECK(f->odd == 0 && !(error > f->allowed), DPT_ERR_INTERNAL,
              "step %lld: %s number %llu (%zu %s by %s) is not the sum over ranks: MPI's has norm %.9g, the difference "
              "has norm %.3g, rounding explains %.3g%s",
              (long long)comm->step, dpt_collective_text(at->what), (unsigned long long)at->sequence, at->count,
              dpt_dtype_text(at->dtype), c->inner.name, sum, error, f->allowed,
              f->odd ? "; numbers that are not finite stand where they should not, or the other way round" : "");
    return DPT_OK;
}

static dpt_status fetch(checked_comm *c, const copy *at, size_t bytes, dpt_stream *stream, void **result) {
    *result = dpt_alloc(bytes);
    DPT_CHECK_ALLOC(*result);
    DPT_TRY(c->device->ops->copy_out(c->device, *result, at->data, bytes, stream));
    return c->device->ops->stream_sync(c->device, stream);
}

static dpt_status compare(checked_comm *c, const dpt_comm *comm, const copy *at, dpt_stream *stream) {
    bool sliced = at->what == DPT_REDUCE_SCATTER;
    size_t all = at->count * (sliced ? (size_t)comm->world : 1), begin = sliced ? (size_t)comm->rank * at->count : 0;
    void *result = NULL;
    comparison found = {0};
    dpt_status status = fetch(c, at, all * dpt_dtype_size(at->dtype), stream, &result);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, status), fail);
    DPT_TRY_GOTO(compare_all(c, at, result, begin, begin + at->count, all, &found), fail);
    DPT_TRY_GOTO(dpt_control_agree(&c->control, judge(c, comm, at, &found)), fail);
fail:
    dpt_free(result);
    return status;
}

static dpt_status checked_wait(dpt_comm *comm, uint64_t ticket, dpt_stream *stream) {
    checked_comm *c = comm->state;
    if (!(ticket & is_copied)) return c->inner.ops->wait(&c->inner, ticket, stream);
    copy *at = &c->copies[ticket & ~is_copied];
    dpt_status status = dpt_control_agree(&c->control, c->inner.ops->wait(&c->inner, at->inner_ticket, stream));
    if (status == DPT_OK) status = compare(c, comm, at, stream);
    dpt_free(at->host);
    at->host = NULL;
    return status;
}

/* ---- steps ---- */

static void tell(checked_comm *c, int64_t step) {
    if (c->compared == 0) return;
    dpt_log(
        c->told ? DPT_LOG_DEBUG : DPT_LOG_INFO,
        "comm.check: %lld sums of step %lld compared with MPI's: largest relative error %.2g, rounding explains %.2g",
        (long long)c->compared, (long long)step, c->largest, c->largest_allowed);
    c->told = true;
    c->compared = 0;
    c->largest = c->largest_allowed = 0;
}

static void checked_begin_step(dpt_comm *comm) {
    checked_comm *c = comm->state;
    tell(c, c->inner.step);
    dpt_comm_begin_step(&c->inner, comm->step);
    comm->eager = c->inner.eager || comm->step % c->every == 0;
}

/* ---- what the inner communicator does ---- */

static dpt_status checked_group(dpt_comm *comm, bool begin) {
    checked_comm *c = comm->state;
    return c->inner.ops->group ? c->inner.ops->group(&c->inner, begin) : DPT_OK;
}
static dpt_status checked_attach(dpt_comm *comm, void *memory, size_t bytes) {
    checked_comm *c = comm->state;
    return c->inner.ops->attach ? c->inner.ops->attach(&c->inner, memory, bytes) : DPT_OK;
}
static void checked_detach(dpt_comm *comm, void *memory) {
    checked_comm *c = comm->state;
    if (c->inner.ops->detach) c->inner.ops->detach(&c->inner, memory);
}
static dpt_status checked_check(dpt_comm *comm) {
    checked_comm *c = comm->state;
    return c->inner.ops->check ? c->inner.ops->check(&c->inner) : DPT_OK;
}
static void checked_abort(dpt_comm *comm, double limit_s) {
    checked_comm *c = comm->state;
    if (c->inner.ops->abort) c->inner.ops->abort(&c->inner, limit_s);
}

static void checked_close(dpt_comm *comm) {
    checked_comm *c = comm->state;
    comm->state = NULL;
    comm->ops = NULL;
    if (c == NULL) return;
    tell(c, c->inner.step);
    dpt_comm_close(&c->inner);
    for (int64_t i = 0; i < c->n_copy; i++) dpt_free(c->copies[i].host);
    dpt_control_close(&c->control);
    dpt_free(c->copies);
    dpt_free(c->mine);
    dpt_free(c->sum);
    dpt_free(c);
}

static const dpt_comm_ops checked_ops = {.start = checked_start,
                                         .wait = checked_wait,
                                         .group = checked_group,
                                         .attach = checked_attach,
                                         .detach = checked_detach,
                                         .check = checked_check,
                                         .abort = checked_abort,
                                         .close = checked_close};

static void take_inner(checked_comm *c, dpt_comm *inner, dpt_comm *comm) {
    c->inner = *inner;
    *comm = *inner;
    inner->ops = NULL;
    comm->ops = &checked_ops;
    comm->state = c;
    comm->begin_step = checked_begin_step;
    size_t room = sizeof comm->name - sizeof ", checked";
    snprintf(comm->name, sizeof comm->name, "%.*s, checked", (int)room, c->inner.name);
}

/* A rank without memory keeps inner as it is; all of them close it. */
dpt_status dpt_checked_comm_open(const dpt_control *control, dpt_device *device, int64_t every, bool sum_bf16,
                                 dpt_comm *inner, dpt_comm *comm) {
    checked_comm *c = dpt_alloc_zero(1, sizeof *c);
    double *mine = dpt_alloc(PART * sizeof *mine), *sum = dpt_alloc(PART * sizeof *sum);
    dpt_status status = dpt_control_agree(control, c && mine && sum ? DPT_OK : DPT_ERR_MEMORY);
    if (status != DPT_OK) {
        dpt_free(c);
        dpt_free(mine);
        dpt_free(sum);
        *comm = *inner;
        inner->ops = NULL;
        return status;
    }
    c->device = device;
    c->every = every;
    c->sum_bf16 = sum_bf16;
    c->mine = mine;
    c->sum = sum;
    c->control.comm = MPI_COMM_NULL;
    take_inner(c, inner, comm);
    DPT_TRY(dpt_control_open(&c->control, control->comm));
    c->control.position = control->position;
    return DPT_OK;
}
