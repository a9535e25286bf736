/* control.c: the control plane over MPI. MPI_Allreduce on MPI_INT64_T and friends; strings travel after their length.
 */
#include "backend/control.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

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
    static const char *const text[] = {[DPT_CONTROL_GATHER] = "gather",
                                       [DPT_CONTROL_BROADCAST] = "broadcast",
                                       [DPT_CONTROL_SUM] = "sum",
                                       [DPT_CONTROL_MAX] = "maximum",
                                       [DPT_CONTROL_PREFIX] = "prefix sum",
                                       [DPT_CONTROL_AGREE] = "agreement"};
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
