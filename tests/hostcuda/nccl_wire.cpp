/* nccl_wire.cpp: see nccl_wire.h. */
#include "nccl_wire.h"

#include <algorithm>

namespace hostnccl {

namespace {

const size_t piece = (size_t)1 << 30; /* counts of MPI are int */

bool can_talk() {
    int started = 0, ended = 0;
    MPI_Initialized(&started);
    if (started) MPI_Finalized(&ended);
    return started && !ended;
}

int tag_of(uint64_t key) {
    void *bound = NULL;
    int found = 0;
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &found);
    uint32_t room = found && *static_cast<int *>(bound) < INT32_MAX ? 1u << 20 : 1u << 29;
    return (int)(room + (uint32_t)(key >> 16) % room);
}

bool all_ended(std::vector<MPI_Request> *requests) {
    int done = 0;
    if (requests->empty()) return true;
    MPI_Testall((int)requests->size(), requests->data(), &done, MPI_STATUSES_IGNORE);
    if (done) requests->clear();
    return done;
}

}  // namespace

const char *wire_missing() {
    int provided = MPI_THREAD_SINGLE;
    if (!can_talk()) return "NCCL on the host sends its messages over MPI, which has not been started";
    MPI_Query_thread(&provided);
    return provided == MPI_THREAD_MULTIPLE
               ? NULL
               : "NCCL on the host needs MPI started with MPI_THREAD_MULTIPLE: it calls MPI "
                 "from a thread of its own";
}

int wire_rank() {
    int rank = 0;
    if (can_talk()) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

uint64_t key_of(uint64_t key, uint64_t number) {
    uint64_t h = (key ^ number) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return h ^ h >> 29 ^ key << 1;
}

void messages::send(int process, uint64_t key, const void *data, size_t bytes) {
    for (size_t at = 0; at < bytes; at += piece) {
        sends.push_back(MPI_REQUEST_NULL);
        MPI_Isend(static_cast<const char *>(data) + at, (int)std::min(piece, bytes - at), MPI_BYTE, process,
                  tag_of(key), MPI_COMM_WORLD, &sends.back());
    }
}

void messages::receive(int process, uint64_t key, void *data, size_t bytes) {
    for (size_t at = 0; at < bytes; at += piece) {
        receives.push_back(MPI_REQUEST_NULL);
        MPI_Irecv(static_cast<char *>(data) + at, (int)std::min(piece, bytes - at), MPI_BYTE, process, tag_of(key),
                  MPI_COMM_WORLD, &receives.back());
    }
}

bool messages::ended() { return can_talk() && all_ended(&receives) && all_ended(&sends); }

void messages::abandon() {
    for (MPI_Request &request : receives) {
        if (request == MPI_REQUEST_NULL || !can_talk()) continue;
        MPI_Cancel(&request);
        MPI_Request_free(&request);
    }
    receives.clear();
    sends.clear();
}

}  // namespace hostnccl
