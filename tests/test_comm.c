/* test_comm.c: the communicator over MPI, inline and on a thread of its own: four collectives, many in flight, sizes on
 * both sides of what goes inline; and the control plane. */
#include <stdio.h>

#include "backend/comm_mpi.h"
#include "backend/device_cpu.h"
#include "base/memory.h"
#include "comm_values.h"

enum { SMALL = 1000, LARGE = 40000 }; /* 4 KB go inline, 160 KB and more to the thread */

static bool open_comm(int thread, dpt_device *device, dpt_comm *comm) {
    if (!CHECK_OK(dpt_cpu_device_open(NULL, 1, device))) return false;
    return CHECK_OK(dpt_mpi_comm_open(MPI_COMM_WORLD, device, thread, comm));
}

static void check_all_reduce(dpt_comm *comm, dpt_dtype dtype, int64_t n) {
    void *data = dpt_alloc((size_t)n * dpt_dtype_size(dtype));
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) comm_put(data, dtype, i, comm_value(check_rank(), i));
    CHECK_OK(dpt_comm_run(comm, DPT_ALL_REDUCE, data, (size_t)n, dtype, NULL));
    for (int64_t i = 0; i < n; i++) wrong += comm_get(data, dtype, i) != comm_sum(i);
    CHECK_EQ_I64(wrong, 0);
    dpt_free(data);
}

/* n elements a rank; after a reduce-scatter the other slices hold what they held, or zeros. */
static void check_slices(dpt_comm *comm, dpt_dtype dtype, int64_t n) {
    const int64_t all = n * check_world(), begin = n * check_rank();
    void *data = dpt_alloc((size_t)all * dpt_dtype_size(dtype));
    int64_t wrong = 0;
    for (int64_t i = 0; i < all; i++) comm_put(data, dtype, i, comm_value(check_rank(), i));
    CHECK_OK(dpt_comm_run(comm, DPT_REDUCE_SCATTER, data, (size_t)n, dtype, NULL));
    for (int64_t i = begin; i < begin + n; i++) wrong += comm_get(data, dtype, i) != comm_sum(i);
    for (int64_t i = 0; i < all; i++)
        if (i < begin || i >= begin + n)
            wrong += comm_get(data, dtype, i) != 0 && comm_get(data, dtype, i) != comm_value(check_rank(), i);
    for (int64_t i = 0; i < all; i++)
        if (i < begin || i >= begin + n) comm_put(data, dtype, i, 99);
    CHECK_OK(dpt_comm_run(comm, DPT_ALL_GATHER, data, (size_t)n, dtype, NULL));
    for (int64_t i = 0; i < all; i++) wrong += comm_get(data, dtype, i) != comm_sum(i);
    CHECK_EQ_I64(wrong, 0);
    dpt_free(data);
}

static void check_broadcast(dpt_comm *comm, dpt_dtype dtype, int64_t n) {
    void *data = dpt_alloc((size_t)n * dpt_dtype_size(dtype));
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) comm_put(data, dtype, i, comm_value(check_rank(), i));
    CHECK_OK(dpt_comm_run(comm, DPT_BROADCAST, data, (size_t)n, dtype, NULL));
    for (int64_t i = 0; i < n; i++) wrong += comm_get(data, dtype, i) != comm_value(0, i);
    CHECK_EQ_I64(wrong, 0);
    dpt_free(data);
}

static void collectives_of(int thread) {
    dpt_device device;
    dpt_comm comm;
    if (!open_comm(thread, &device, &comm)) return;
    CHECK_EQ_I64(comm.rank, check_rank());
    CHECK_EQ_I64(comm.world, check_world());
    CHECK(comm.overlaps == (thread == 1 && check_world() > 1));
    for (int dtype = 0; dtype < DPT_I64 + 1; dtype++) {
        check_all_reduce(&comm, (dpt_dtype)dtype, SMALL);
        check_all_reduce(&comm, (dpt_dtype)dtype, LARGE * 2);
        check_slices(&comm, (dpt_dtype)dtype, SMALL);
        check_slices(&comm, (dpt_dtype)dtype, LARGE);
        check_broadcast(&comm, (dpt_dtype)dtype, LARGE);
    }
    check_all_reduce(&comm, DPT_F32, 0);
    comm.ops->close(&comm);
}

static void inline_collectives(void) { collectives_of(0); }
static void threaded_collectives(void) { collectives_of(1); }

/* Elements of operation k: more large ones in a row than the thread's ring holds, then small and large in turns. */
enum { MANY = 600 };
static int64_t count_of(int k) { return k >= 500 && k % 3 == 0 ? SMALL / 10 : LARGE / 2; }

/* Waited for in another order than started. Every rank chooses a thread or not by itself: the order of their calls must
 * match all the same. */
static void many_in_flight(void) {
    dpt_device device;
    dpt_comm comm;
    uint64_t ticket[MANY];
    float *data[MANY];
    int64_t wrong = 0;
    if (!open_comm(check_rank() % 2, &device, &comm)) return;
    for (int k = 0; k < MANY; k++) {
        const int64_t n = count_of(k);
        data[k] = dpt_alloc((size_t)n * sizeof(float));
        for (int64_t i = 0; i < n; i++) data[k][i] = (float)(comm_value(check_rank(), i) + k);
        CHECK_OK(dpt_comm_start(&comm, DPT_ALL_REDUCE, data[k], (size_t)n, DPT_F32, NULL, &ticket[k]));
    }
    for (int k = 0; k < MANY; k++) {
        const int one = (k * 7) % MANY;
        const int64_t n = count_of(one);
        CHECK_OK(comm.ops->wait(&comm, ticket[one], NULL));
        for (int64_t i = 0; i < n; i += 37) wrong += data[one][i] != (float)(comm_sum(i) + check_world() * one);
        dpt_free(data[one]);
    }
    CHECK_EQ_I64(wrong, 0);
    CHECK_EQ_I64(comm.sequence, MANY);
    comm.ops->close(&comm);
}

/* Sums of a group, of several types, more bytes and more of them than one call takes, between others: as one by one,
 * and in the order of starts on ranks with and without a thread. */
static void grouped_sums(void) {
    enum { SUMS = 59 }; /* the last one is held back */
    static const dpt_dtype types[] = {DPT_F64, DPT_F32, DPT_I64, DPT_I32};
    static char data[SUMS][3000];
    dpt_device device;
    dpt_comm comm;
    uint64_t ticket[SUMS];
    int64_t wrong = 0;
    if (!open_comm(check_rank() % 2, &device, &comm)) return;
    for (int turn = 0; turn < 2; turn++) {
        CHECK_OK(comm.ops->group(&comm, true));
        for (int k = 0; k < SUMS; k++) {
            const int64_t n = k % 7 == 0 ? 300 : 1 + k % 3;
            for (int64_t i = 0; i < n; i++) comm_put(data[k], types[k % 4], i, comm_value(check_rank(), i + k));
            const dpt_collective what = k % 20 == 9 ? DPT_BROADCAST : DPT_ALL_REDUCE;
            CHECK_OK(dpt_comm_start(&comm, what, data[k], (size_t)n, types[k % 4], NULL, &ticket[k]));
        }
        CHECK_OK(comm.ops->group(&comm, false));
        for (int k = 0; k < SUMS; k++) {
            const int64_t n = k % 7 == 0 ? 300 : 1 + k % 3;
            CHECK_OK(comm.ops->wait(&comm, ticket[k], NULL));
            for (int64_t i = 0; i < n; i++)
                wrong += comm_get(data[k], types[k % 4], i) != (k % 20 == 9 ? comm_value(0, i + k) : comm_sum(i + k));
        }
    }
    CHECK_EQ_I64(wrong, 0);
    check_all_reduce(&comm, DPT_F32, 1); /* after a group nothing is held back */
    comm.ops->close(&comm);
}

/* ---- control plane ---- */

static void broadcast_and_sums(void) {
    dpt_control c;
    if (!CHECK_OK(dpt_control_open(&c, MPI_COMM_WORLD))) return;
    CHECK(c.rank == check_rank() && c.world == check_world() && c.local_world == check_world());
    int64_t v[3] = {check_rank(), 1, -check_rank()}, before[3];
    double d[2] = {0.5, check_rank()};
    char text[64] = "";
    const int64_t ranks = check_world(), sum = ranks * (ranks - 1) / 2, below = check_rank() * (check_rank() - 1) / 2;
    CHECK_OK(dpt_control_prefix_i64(&c, v, before, 3));
    CHECK(before[0] == below && before[1] == check_rank() && before[2] == -below);
    CHECK_OK(dpt_control_sum_i64(&c, v, 3));
    CHECK(v[0] == sum && v[1] == ranks && v[2] == -sum);
    CHECK_OK(dpt_control_sum_f64(&c, d, 2));
    CHECK(d[0] == 0.5 * (double)ranks && d[1] == (double)sum);
    if (check_rank() == check_world() - 1) strcpy(text, "from the last");
    CHECK_OK(dpt_control_broadcast(&c, text, sizeof text, check_world() - 1));
    CHECK_EQ_TEXT(text, "from the last");
    CHECK_OK(dpt_control_broadcast(&c, text, 0, 0));
    dpt_control_close(&c);
}

static void agree(void) {
    dpt_control c;
    char text[64] = "disk 3 is full";
    if (!CHECK_OK(dpt_control_open(&c, MPI_COMM_WORLD))) return;
    const int bad = check_world() / 2;
    if (check_world() > 1) snprintf(text, sizeof text, "rank %d: disk %d is full", bad, 3);
    for (int k = 0; k < 2; k++) {
        CHECK_OK(dpt_control_agree(&c, DPT_OK));
        /* ranks above fail too, otherwise: the lowest one's word counts */
        dpt_status mine = DPT_OK;
        if (check_rank() == bad) mine = dpt_error(DPT_ERR_IO, "disk 3 is full");
        if (check_rank() > bad && k == 1) mine = dpt_error(DPT_ERR_DATA, "something else");
        CHECK_FAILS(dpt_control_agree(&c, mine), DPT_ERR_IO, text);
    }
    dpt_control_close(&c);
}

static void same(void) {
    dpt_control c;
    char text[96];
    if (!CHECK_OK(dpt_control_open(&c, MPI_COMM_WORLD))) return;
    const int odd = check_world() - 1;
    CHECK_OK(dpt_control_same(&c, "the answer", 42));
    CHECK_OK(dpt_control_same(&c, "the answer", UINT64_MAX));
    if (check_world() > 1) {
        snprintf(text, sizeof text, "the answer differs between ranks: rank %d against the others", odd);
        CHECK_FAILS(dpt_control_same(&c, "the answer", check_rank() == odd ? 41 : 42), DPT_ERR_CONFIG, text);
        CHECK_OK(dpt_control_same(&c, "the answer", 42));
    }
    dpt_control_close(&c);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "comm", {"inline_collectives", inline_collectives},
                      {"threaded_collectives", threaded_collectives}, {"many_in_flight", many_in_flight},
                      {"grouped_sums", grouped_sums}, {"broadcast_and_sums", broadcast_and_sums}, {"agree", agree},
                      {"same", same});
}
