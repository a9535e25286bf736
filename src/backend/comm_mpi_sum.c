/* comm_mpi_sum.c: see comm_mpi_sum.h. Two numbers are added in f32 and rounded to 16 bits, in the order that MPI
 * chooses; adding commutes bit by bit, so MPI may turn pairs round, and all ranks still get the same bits. */
#include "backend/comm_mpi_sum.h"

#include "base/memory.h"
#include "base/numbers.h"

static const size_t part_count = (size_t)1 << 20; /* numbers that are converted and summed at a time */

static void add_bf16(void *in, void *both, int *count, MPI_Datatype *type) {
    const uint16_t *a = in;
    uint16_t *b = both;
    (void)type;
    for (int i = 0; i < *count; i++) b[i] = dpt_bf16_of_f32(dpt_f32_of_bf16(a[i]) + dpt_f32_of_bf16(b[i]));
}

static void add_f16(void *in, void *both, int *count, MPI_Datatype *type) {
    const uint16_t *a = in;
    uint16_t *b = both;
    (void)type;
    for (int i = 0; i < *count; i++) b[i] = dpt_f16_of_f32(dpt_f32_of_f16(a[i]) + dpt_f32_of_f16(b[i]));
}

dpt_status dpt_mpi_sums_create(dpt_mpi_sums *sums) {
    *sums = (dpt_mpi_sums){.bf16 = MPI_OP_NULL, .f16 = MPI_OP_NULL};
    DPT_TRY(DPT_MPI(MPI_Op_create(add_bf16, 1, &sums->bf16)));
    return DPT_MPI(MPI_Op_create(add_f16, 1, &sums->f16));
}

dpt_status dpt_mpi_sums_reserve(dpt_mpi_sums *sums) {
    if (sums->part) return DPT_OK;
    sums->part = dpt_alloc(part_count * sizeof *sums->part);
    DPT_CHECK_ALLOC(sums->part);
    return DPT_OK;
}

void dpt_mpi_sums_destroy(dpt_mpi_sums *sums) {
    if (sums->bf16 != MPI_OP_NULL) MPI_Op_free(&sums->bf16);
    if (sums->f16 != MPI_OP_NULL) MPI_Op_free(&sums->f16);
    dpt_free(sums->part);
    sums->part = NULL;
}

dpt_status dpt_mpi_sum_in_bf16(const dpt_mpi_sums *sums, MPI_Comm comm, float *data, size_t slices, size_t count) {
    size_t most = part_count / slices;
    int rank;
    MPI_Comm_rank(comm, &rank);
    DPT_CHECK(most > 0, DPT_ERR_UNSUPPORTED, "sums in bf16 over more than %zu ranks", part_count);
    for (size_t first = 0; first < count; first += most) {
        size_t n = count - first < most ? count - first : most;
        for (size_t s = 0; s < slices; s++)
            for (size_t i = 0; i < n; i++) sums->part[s * n + i] = dpt_bf16_of_f32(data[s * count + first + i]);
        DPT_TRY(slices == 1 ? DPT_MPI(MPI_Allreduce(MPI_IN_PLACE, sums->part, (int)n, MPI_UINT16_T, sums->bf16, comm))
                            : DPT_MPI(MPI_Reduce_scatter_block(MPI_IN_PLACE, sums->part, (int)n, MPI_UINT16_T,
                                                               sums->bf16, comm)));
        float *to = data + (slices == 1 ? 0 : (size_t)rank * count) + first;
        for (size_t i = 0; i < n; i++) to[i] = dpt_f32_of_bf16(sums->part[i]);
    }
    return DPT_OK;
}
