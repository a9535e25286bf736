/* control.c: the control plane over MPI. MPI_Allreduce on MPI_INT64_T and friends; strings travel after their length.
 */
#include "backend/control.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

dpt_status dpt_mpi_status(int code, const char *call) {
    if (code == MPI_SUCCESS) return DPT_OK;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    MPI_Error_string(code, text, &n);
    return dpt_error(DPT_ERR_PEER, "%s: %.*s", call, n, text);
}

const char *dpt_control_text(dpt_control_kind kind) {
    static const char *const text[] = {
        [DPT_CONTROL_GATHER] = "gather", [DPT_CONTROL_BROADCAST] = "broadcast", [DPT_CONTROL_SUM] = "sum",
        [DPT_CONTROL_MAX] = "maximum",   [DPT_CONTROL_PREFIX] = "prefix sum",   [DPT_CONTROL_AGREE] = "agreement",
        [DPT_CONTROL_MEET] = "meeting"};
    return text[kind];
}

/* Around an exchange: the position knows that it is under way. */
static uint64_t begin(const dpt_control *control, dpt_control_kind kind, size_t bytes) {
    return dpt_position_start(control->position, DPT_LANE_CONTROL, (int)kind, bytes, 0);
}

static dpt_status end(const dpt_control *control, uint64_t sequence, dpt_status status) {
    dpt_position_finish(control->position, DPT_LANE_CONTROL, sequence);
    return status;
}

dpt_status dpt_control_open(dpt_control *control, MPI_Comm comm) {
    *control = (dpt_control){.comm = MPI_COMM_NULL};
    DPT_TRY(DPT_MPI(MPI_Comm_dup(comm, &control->comm)));
    MPI_Comm_set_errhandler(control->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(control->comm, &control->rank);
    MPI_Comm_size(control->comm, &control->world);
    MPI_Comm node;
    DPT_TRY(DPT_MPI(MPI_Comm_split_type(control->comm, MPI_COMM_TYPE_SHARED, control->rank, MPI_INFO_NULL, &node)));
    MPI_Comm_rank(node, &control->local_rank);
    MPI_Comm_size(node, &control->local_world);
    MPI_Comm_free(&node);
    return DPT_OK;
}

void dpt_control_close(dpt_control *control) {
    if (control->comm != MPI_COMM_NULL) MPI_Comm_free(&control->comm);
    control->comm = MPI_COMM_NULL;
}

dpt_status dpt_control_gather(const dpt_control *control, const void *mine, size_t bytes, void *all) {
    DPT_CHECK(bytes <= INT_MAX, DPT_ERR_ARG, "%zu bytes of a rank: more than MPI counts", bytes);
    uint64_t it = begin(control, DPT_CONTROL_GATHER, bytes);
    return end(control, it,
               DPT_MPI(MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, control->comm)));
}

dpt_status dpt_control_broadcast(const dpt_control *control, void *data, size_t bytes, int root) {
    char *p = data;
    if (control->world == 1) return DPT_OK;
    while (bytes > 0) {
        int n = bytes > INT_MAX ? INT_MAX : (int)bytes;
        uint64_t it = begin(control, DPT_CONTROL_BROADCAST, (size_t)n);
        DPT_TRY(end(control, it, DPT_MPI(MPI_Bcast(p, n, MPI_BYTE, root, control->comm))));
        p += n;
        bytes -= (size_t)n;
    }
    return DPT_OK;
}

dpt_status dpt_control_sum_i64(const dpt_control *control, int64_t *values, int count) {
    if (control->world == 1) return DPT_OK;
    uint64_t it = begin(control, DPT_CONTROL_SUM, (size_t)count * sizeof *values);
    return end(control, it, DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, MPI_SUM, control->comm)));
}

dpt_status dpt_control_sum_f64(const dpt_control *control, double *values, int count) {
    if (control->world == 1) return DPT_OK;
    uint64_t it = begin(control, DPT_CONTROL_SUM, (size_t)count * sizeof *values);
    return end(control, it, DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, control->comm)));
}

dpt_status dpt_control_max_f64(const dpt_control *control, double *values, int count) {
    if (control->world == 1) return DPT_OK;
    uint64_t it = begin(control, DPT_CONTROL_MAX, (size_t)count * sizeof *values);
    return end(control, it, DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_MAX, control->comm)));
}

dpt_status dpt_control_prefix_i64(const dpt_control *control, const int64_t *values, int64_t *before, int count) {
    memset(before, 0, (size_t)count * sizeof *before);
    if (control->world == 1) return DPT_OK;
    uint64_t it = begin(control, DPT_CONTROL_PREFIX, (size_t)count * sizeof *values);
    DPT_TRY(end(control, it, DPT_MPI(MPI_Exscan(values, before, count, MPI_INT64_T, MPI_SUM, control->comm))));
    if (control->rank == 0) memset(before, 0, (size_t)count * sizeof *before);
    return DPT_OK;
}

dpt_status dpt_control_agree(const dpt_control *control, dpt_status mine) {
    if (control->world == 1) return mine;
    struct {
        int failed, rank;
    } one = {mine != DPT_OK ? 0 : 1, control->rank}, first;
    uint64_t it = begin(control, DPT_CONTROL_AGREE, 0);
    DPT_TRY(end(control, it, DPT_MPI(MPI_Allreduce(&one, &first, 1, MPI_2INT, MPI_MINLOC, control->comm))));
    if (first.failed != 0) return DPT_OK;
    struct {
        int status;
        char message[1000];
    } said = {(int)mine, ""};
    if (control->rank == first.rank) snprintf(said.message, sizeof said.message, "%s", dpt_last_error());
    DPT_TRY(dpt_control_broadcast(control, &said, sizeof said, first.rank));
    return dpt_error((dpt_status)said.status, "rank %d: %s", first.rank, said.message);
}

/* The digest that most ranks hold. */
static uint64_t majority(const uint64_t *digest, int n) {
    uint64_t best = digest[0];
    int best_count = 0;
    for (int i = 0; i < n && best_count <= n / 2; i++) {
        int count = 0;
        for (int j = 0; j < n; j++) count += digest[j] == digest[i];
        if (count > best_count) best = digest[i], best_count = count;
    }
    return best;
}

dpt_status dpt_control_same(const dpt_control *control, const char *what, uint64_t digest) {
    if (control->world == 1) return DPT_OK;
    uint64_t ends[2] = {digest, ~digest};
    uint64_t it = begin(control, DPT_CONTROL_AGREE, sizeof digest);
    DPT_TRY(end(control, it, DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MIN, control->comm))));
    if (ends[0] == ~ends[1]) return DPT_OK;
    uint64_t *all = dpt_alloc((size_t)control->world * sizeof *all);
    DPT_TRY(dpt_control_agree(control, all ? DPT_OK : DPT_ERR_MEMORY));
    dpt_status status = DPT_OK;
    DPT_TRY_GOTO(dpt_control_gather(control, &digest, sizeof digest, all), fail);
    uint64_t usual = majority(all, control->world);
    char odd[512];
    size_t n = 0;
    odd[0] = 0;
    for (int r = 0; r < control->world; r++)
        if (all[r] != usual) n = dpt_append(odd, sizeof odd, n, "%s%d", n ? ", " : "", r);
    status = dpt_error(DPT_ERR_CONFIG, "%s differs between ranks: rank %s against the others", what, odd);
fail:
    dpt_free(all);
    return status;
}

/* ---- a meeting: rank 0 calls, those that are there answer, and are told who has. Nobody is waited for beyond the
 * limit; messages that nobody takes stay with MPI. Invariant: an answer comes after the call, so that a rank that has
 * given up is not counted. ---- */

enum { MEET_TAG = 7, MEET_LIST_TAG = 8 };

static dpt_status send_sign(const dpt_control *control, int to, int tag) {
    MPI_Request request;
    DPT_TRY(DPT_MPI(MPI_Isend(NULL, 0, MPI_BYTE, to, tag, control->comm, &request)));
    return DPT_MPI(MPI_Request_free(&request));
}

/* Waits for a message, until the clock shows `end`. */
static dpt_status look_out(const dpt_control *control, int from, int tag, double end, bool *came, MPI_Status *status) {
    const struct timespec pause = {0, 200000};
    for (*came = false;; (void)nanosleep(&pause, NULL)) {
        int there = 0;
        DPT_TRY(DPT_MPI(MPI_Iprobe(from, tag, control->comm, &there, status)));
        *came = there;
        if (there || dpt_clock_s() > end) return DPT_OK;
    }
}

static dpt_status meet_as_first(const dpt_control *control, double limit_s, uint8_t *came) {
    const double end = dpt_clock_s() + limit_s;
    int missing = control->world - 1;
    for (int r = 1; r < control->world; r++) DPT_TRY(send_sign(control, r, MEET_TAG));
    memset(came, 0, (size_t)control->world);
    came[0] = 1;
    while (missing > 0) {
        MPI_Status from;
        bool one;
        DPT_TRY(look_out(control, MPI_ANY_SOURCE, MEET_TAG, end, &one, &from));
        if (!one) break;
        DPT_TRY(DPT_MPI(MPI_Recv(NULL, 0, MPI_BYTE, from.MPI_SOURCE, MEET_TAG, control->comm, MPI_STATUS_IGNORE)));
        came[from.MPI_SOURCE] = 1;
        missing--;
    }
    for (int r = 1; r < control->world; r++)
        DPT_TRY(came[r] ? DPT_MPI(MPI_Send(came, control->world, MPI_BYTE, r, MEET_LIST_TAG, control->comm))
                        : send_sign(control, r, MEET_LIST_TAG));
    return missing == 0 ? DPT_OK : dpt_error(DPT_ERR_PEER, "%d ranks have not come within %g s", missing, limit_s);
}

static dpt_status meet_as_other(const dpt_control *control, double limit_s, uint8_t *came) {
    enum { GRACE_S = 5 }; /* for rank 0's list to travel */
    MPI_Status from;
    bool there;
    int size = 0;
    memset(came, 1, (size_t)control->world);
    DPT_TRY(look_out(control, 0, MEET_TAG, dpt_clock_s() + limit_s, &there, &from));
    if (there) {
        DPT_TRY(DPT_MPI(MPI_Recv(NULL, 0, MPI_BYTE, 0, MEET_TAG, control->comm, MPI_STATUS_IGNORE)));
        DPT_TRY(send_sign(control, 0, MEET_TAG));
        DPT_TRY(look_out(control, 0, MEET_LIST_TAG, dpt_clock_s() + limit_s + GRACE_S, &there, &from));
    }
    came[0] = there;
    DPT_CHECK(there, DPT_ERR_PEER, "rank 0 has not come within %g s", limit_s);
    DPT_TRY(DPT_MPI(MPI_Get_count(&from, MPI_BYTE, &size)));
    DPT_TRY(DPT_MPI(MPI_Recv(came, size, MPI_BYTE, 0, MEET_LIST_TAG, control->comm, MPI_STATUS_IGNORE)));
    DPT_CHECK(size > 0, DPT_ERR_PEER, "this rank came after the limit of %g s, when the others had given up", limit_s);
    for (int r = 0; r < control->world; r++)
        DPT_CHECK(came[r], DPT_ERR_PEER, "rank %d has not come within %g s", r, limit_s);
    return DPT_OK;
}

dpt_status dpt_control_meet(const dpt_control *control, double limit_s, uint8_t *came) {
    came[0] = 1;
    if (control->world == 1) return DPT_OK;
    uint64_t it = begin(control, DPT_CONTROL_MEET, 0);
    return end(control, it,
               control->rank == 0 ? meet_as_first(control, limit_s, came) : meet_as_other(control, limit_s, came));
}
