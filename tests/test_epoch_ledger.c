/* The ledger of an epoch: digests from another program, no matter the order and who delivered; what is lost, twice or
 * of another epoch shows, on all ranks. */
#include "data/ledger.h"

#include "check.h"
#include "data/sampler.h"
#include "golden/lanes.h"

static dpt_control control;

static void start(void) { CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD)); }

static void stop(void) { dpt_control_close(&control); }

static dpt_ledger of_range(uint64_t epoch, uint64_t first, uint64_t count) {
    dpt_ledger l = {0};
    for (uint64_t i = first; i < first + count; i++) dpt_ledger_add(&l, epoch, &i, 1);
    return l;
}

static void merge(dpt_ledger *ledger, dpt_ledger other) {
    ledger->count += other.count;
    ledger->sum += other.sum;
}

static void golden(void) {
    CHECK(sizeof lanes_rows > 0);
    for (size_t i = 0; i < sizeof ledger_rows / sizeof *ledger_rows; i++) {
        const struct ledger_row *g = &ledger_rows[i];
        dpt_ledger wanted = of_range(g->epoch, g->first, g->count), backwards = {0}, parts = {0};
        CHECK(wanted.count == g->count && wanted.sum == g->sum);
        for (uint64_t k = g->count; k > 0; k--) dpt_ledger_add(&backwards, g->epoch, &(uint64_t){g->first + k - 1}, 1);
        CHECK(backwards.count == g->count && backwards.sum == g->sum);
        dpt_ledger half = of_range(g->epoch, g->first, g->count / 2),
                   rest = of_range(g->epoch, g->first + g->count / 2, g->count - g->count / 2);
        merge(&parts, half);
        merge(&parts, rest);
        CHECK(parts.count == g->count && parts.sum == g->sum);
    }
}

enum { ROWS = 1003 };

/* This rank's share of what an epoch is to be. */
static dpt_ledger share(uint64_t epoch) {
    int64_t first, count;
    dpt_share(ROWS, control.rank, control.world, &first, &count);
    return of_range(epoch, (uint64_t)first, (uint64_t)count);
}

/* This rank's part of an epoch in a shuffled order. */
static dpt_ledger deliver(uint64_t epoch) {
    dpt_ledger l = {0};
    dpt_order order = dpt_order_create(ROWS, 3);
    for (uint64_t i = (uint64_t)control.rank; i < ROWS; i += (uint64_t)control.world)
        dpt_ledger_add(&l, epoch, &(uint64_t){dpt_order_exact(&order, epoch, i)}, 1);
    return l;
}

static void settles(void) {
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        dpt_ledger l = deliver(epoch), all, wanted = of_range(epoch, 0, ROWS), expected = share(epoch);
        CHECK_OK(dpt_ledger_settle(&control, &l, epoch, &expected, &all));
        CHECK(all.count == ROWS && all.sum == wanted.sum && l.count == 0 && l.sum == 0);
    }
}

static void finds(void) {
    bool last = control.rank == control.world - 1;
    dpt_ledger expected = share(4), all, l = deliver(4), twice = of_range(4, 7, 1);
    l.count -= last;
    l.sum -= last ? twice.sum : 0;
    CHECK_FAILS(dpt_ledger_settle(&control, &l, 4, &expected, &all), DPT_ERR_INTERNAL,
                "pass 5 over the samples: 1002 were delivered, 1003 are in its order");
    l = deliver(4);
    if (last) merge(&l, twice);
    CHECK_FAILS(dpt_ledger_settle(&control, &l, 4, &expected, &all), DPT_ERR_INTERNAL, "1004 were delivered, 1003");
    l = deliver(4); /* one lost, another twice: the counts agree */
    dpt_ledger lost = of_range(4, 8, 1);
    l.sum += last ? twice.sum - lost.sum : 0;
    CHECK_FAILS(dpt_ledger_settle(&control, &l, 4, &expected, &all), DPT_ERR_INTERNAL, "1003 were delivered, 1003");
    l = deliver(3);
    CHECK_FAILS(dpt_ledger_settle(&control, &l, 4, &expected, &all), DPT_ERR_INTERNAL, "lost or came too often");
}

/* Stopped in the middle of an epoch and taken up again, as if on another number of ranks: two numbers are kept. */
static void resumes(void) {
    dpt_ledger kept, l = {0}, all, expected = share(6), half = of_range(6, 0, 400);
    for (uint64_t i = (uint64_t)control.rank; i < 400; i += (uint64_t)control.world) dpt_ledger_add(&l, 6, &i, 1);
    CHECK_OK(dpt_ledger_gather(&control, &l, &kept));
    CHECK(kept.count == half.count && kept.sum == half.sum);
    dpt_ledger_resume(&control, &kept, &l);
    CHECK(l.count == (control.rank == 0 ? 400 : 0));
    bool last = control.rank == control.world - 1;
    if (last) merge(&l, of_range(6, 400, ROWS - 400));
    CHECK_OK(dpt_ledger_settle(&control, &l, 6, &expected, &all));
    dpt_ledger_resume(&control, &kept, &l);
    if (last) merge(&l, of_range(6, 401, ROWS - 401));
    CHECK_FAILS(dpt_ledger_settle(&control, &l, 6, &expected, &all), DPT_ERR_INTERNAL, "1002 were delivered, 1003");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "epoch_ledger", {"start", start}, {"golden", golden}, {"settles", settles},
                      {"finds", finds}, {"resumes", resumes}, {"stop", stop});
}
