/* nccl_collective.cpp: a collective on the device: it takes a copy of what is to be sent, exchanges messages with the
 * other ranks while other work runs, and writes its result at the end. A sum is made by slices: each rank adds up its
 * own, of all ranks, and sends the result to the others.
 *
 * Messages of alike collectives have one key, and MPI keeps them in order: collectives of a communicator start one
 * after another. Invariant: the memory of messages under way outlives them: what is aborted is kept for good. */
#include <signal.h>
#include <string.h>

#include <algorithm>

#include "nccl_comm.h"
#include "nccl_plan.h"
#include "nccl_reduce.h"
#include "nccl_wire.h"

namespace hostnccl {

namespace {

long long entered; /* collectives of this process, under the runtime's lock */

/* One work under way. */
class transfer {
   public:
    transfer(const ranks_ref &on_, const work &w_);
    void start();
    bool ended();
    void abandon() { under_way.abandon(); }

   private:
    int rank() const { return on->rank; }
    int ranks() const { return (int)on->processes.size(); }
    char *at(int r) { return whole.data() + first_of(r) * size; }
    size_t first_of(int r) const { return std::min(slice * (size_t)r, total); }
    size_t bytes_of_slice(int r) const { return (first_of(r + 1) - first_of(r)) * size; }
    bool sums() const { return w.what == kind::all_reduce || w.what == kind::reduce_scatter || w.what == kind::reduce; }

    void send_slices();
    void add_up();
    void spread();
    void pass();
    void write_result();

    ranks_ref on;
    work w;
    size_t size, total, slice; /* bytes of an element; elements of the whole, of a rank's slice of it */
    uint64_t key;
    bool has_slices; /* what the ranks' slices of the sum are made of is under way */
    std::vector<char> whole, parts;
    messages under_way;
};

transfer::transfer(const ranks_ref &on_, const work &w_) : on(on_), w(w_), has_slices(false) {
    size_t n = (size_t)ranks();
    bool of_slices = w.what == kind::reduce_scatter || w.what == kind::all_gather;
    size = bytes_of(w.type);
    total = of_slices ? w.count * n : w.count;
    slice = of_slices ? w.count : (w.count + n - 1) / n;
    bool pairs = w.what == kind::send || w.what == kind::receive;
    key = key_of(on->key, pairs ? (uint64_t)kind::send : (uint64_t)w.what);
    if (!pairs) key = key_of(key_of(key, (uint64_t)w.op << 16 | (uint64_t)w.root), w.type);
    key = key_of(key, w.count);
}

/* To every rank what it adds up, and from every rank a part of the own slice. */
void transfer::send_slices() {
    size_t bytes = bytes_of_slice(rank());
    parts.resize(bytes * (size_t)ranks());
    for (int r = 0; r < ranks(); r++) {
        char *part = parts.data() + bytes * (size_t)r;
        if (r == rank()) {
            if (bytes > 0) memcpy(part, at(r), bytes);
            continue;
        }
        under_way.receive(on->processes[(size_t)r], key_of(key, 1), part, bytes);
        under_way.send(on->processes[(size_t)r], key_of(key, 1), at(r), bytes_of_slice(r));
    }
    has_slices = true;
}

void transfer::add_up() {
    has_slices = false;
    reduce_parts(w.type, w.op, at(rank()), parts.data(), ranks(), bytes_of_slice(rank()) / size);
    if (w.what != kind::reduce_scatter) spread();
}

/* The own slice to all ranks, or to the root; the others' from them. */
void transfer::spread() {
    bool to_root = w.what == kind::reduce;
    for (int r = 0; r < ranks(); r++) {
        if (r == rank()) continue;
        int process = on->processes[(size_t)r];
        if (!to_root || rank() == w.root) under_way.receive(process, key_of(key, 2), at(r), bytes_of_slice(r));
        if (!to_root || r == w.root) under_way.send(process, key_of(key, 2), at(rank()), bytes_of_slice(rank()));
    }
}

/* The whole, from one rank to others or another. */
void transfer::pass() {
    size_t bytes = total * size;
    bool gives = w.what == kind::send || (w.what == kind::broadcast && rank() == w.root);
    for (int r = 0; r < ranks(); r++) {
        int process = on->processes[(size_t)r];
        bool takes_part = w.what == kind::broadcast ? r != rank() : r == w.root;
        if (gives && takes_part) under_way.send(process, key_of(key, 3), whole.data(), bytes);
    }
    if (!gives) under_way.receive(on->processes[(size_t)w.root], key_of(key, 3), whole.data(), bytes);
}

void transfer::start() {
    const hostcuda::engine *device = engine();
    size_t bytes = w.count * size;
    bool reads = w.what != kind::receive && (w.what != kind::broadcast || rank() == w.root);
    size_t from_bytes = w.what == kind::reduce_scatter ? total * size : bytes;
    whole.resize(total * size);
    if (reads) device->check(w.from, from_bytes);
    if (reads && from_bytes > 0) memcpy(w.what == kind::all_gather ? at(rank()) : whole.data(), w.from, from_bytes);
    if (sums())
        send_slices();
    else if (w.what == kind::all_gather)
        spread();
    else
        pass();
}

void transfer::write_result() {
    const hostcuda::engine *device = engine();
    if (w.what == kind::send || (w.what == kind::reduce && rank() != w.root)) return;
    const char *result = w.what == kind::reduce_scatter ? at(rank()) : whole.data();
    size_t bytes = w.what == kind::reduce_scatter ? w.count * size : total * size;
    device->open_memory();
    device->check(w.to, bytes);
    if (bytes > 0) memcpy(w.to, result, bytes);
}

bool transfer::ended() {
    if (!under_way.ended()) return false;
    if (has_slices) {
        add_up();
        return ended();
    }
    write_result();
    return true;
}

/* Works that go out as one operation of the device. */
struct operation {
    ranks_ref on;
    std::vector<transfer> transfers;
    size_t done; /* of them */
    bool hangs;
};

/* What the environment wants to happen to the collective; whether it is entered. */
bool meets_plan(operation *op, const work &w) {
    long long number = ++entered;
    int code = ncclSystemError;
    engine()->count_collective();
    if (planned("HOSTNCCL_KILL", number)) raise(SIGKILL);
    if (planned("HOSTNCCL_STOP", number)) raise(SIGSTOP);
    if (planned("HOSTNCCL_SKIP", number)) return false;
    if (planned("HOSTNCCL_ERROR", number, &code)) {
        op->on->failure = code;
        failed((ncclResult_t)code, "%s: the connection to a peer was lost (HOSTNCCL_ERROR)", name_of(w.what));
        op->hangs = true;
    }
    if (planned("HOSTNCCL_HANG", number)) op->hangs = true;
    return !op->hangs;
}

bool operation_ended(const std::shared_ptr<operation> &op) {
    static auto *aborted = new std::vector<std::shared_ptr<operation>>();
    if (op->on->aborted) {
        for (transfer &t : op->transfers) t.abandon();
        aborted->push_back(op);
        return true;
    }
    if (op->hangs) return false;
    while (op->done < op->transfers.size() && op->transfers[op->done].ended()) op->done++;
    return op->done == op->transfers.size();
}

}  // namespace

const char *name_of(kind what) {
    static const char *const names[] = {"ncclAllReduce", "ncclReduceScatter", "ncclAllGather", "ncclBroadcast",
                                        "ncclReduce",    "ncclSend",          "ncclRecv"};
    return names[(int)what];
}

hostcuda::starter make_starter(const ranks_ref &on, std::vector<work> works, std::shared_ptr<int> held) {
    return [on, works, held]() -> hostcuda::question {
        auto op = std::make_shared<operation>();
        op->on = on;
        op->done = 0;
        op->hangs = false;
        op->transfers.reserve(works.size());
        for (const work &w : works)
            if (!on->aborted && !op->hangs && meets_plan(op.get(), w)) op->transfers.emplace_back(on, w);
        for (transfer &t : op->transfers) t.start();
        return [op] { return operation_ended(op); };
    };
}

}  // namespace hostnccl
