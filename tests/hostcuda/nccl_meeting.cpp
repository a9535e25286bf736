/* nccl_meeting.cpp: see nccl_meeting.h. Invariant: what the ranks check, they check on the same list, so that all that
 * cannot go on know it without another message. */
#include "nccl_meeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "nccl_plan.h"
#include "nccl_wire.h"

namespace hostnccl {

namespace {

/* What a rank says of itself. */
struct introduction {
    int rank, ranks, process, version;
    char host[64], pci[32];
};

/* In ncclUniqueId. */
struct unique_id {
    char mark[16];
    uint64_t number;
    int process; /* that made it */
};
const char id_mark[] = "NCCL on host";

struct meeting {
    ranks_ref on;
    unique_id id;
    introduction mine;
    std::vector<introduction> all; /* by rank, at the end */
    messages under_way;
    bool begun, gathered;
    uint64_t hello() const { return key_of(id.number, 'h'); }
    uint64_t roster() const { return key_of(id.number, 'r'); }
    bool collects() const { return mine.process == id.process; }
};

void introduce(introduction *mine, int rank, int ranks, const char *pci) {
    const char *host = getenv("NCCL_HOSTID");
    memset(mine, 0, sizeof *mine);
    mine->rank = rank, mine->ranks = ranks;
    mine->process = wire_rank();
    mine->version = version();
    if (host != NULL && *host != '\0')
        snprintf(mine->host, sizeof mine->host, "%s", host);
    else
        gethostname(mine->host, sizeof mine->host - 1);
    snprintf(mine->pci, sizeof mine->pci, "%s", pci);
}

void begin_meeting(meeting *m) {
    m->begun = true;
    m->all.resize((size_t)m->mine.ranks);
    m->all[0] = m->mine;
    if (m->mine.ranks == 1) return;
    if (m->collects()) {
        for (int i = 1; i < m->mine.ranks; i++)
            m->under_way.receive(MPI_ANY_SOURCE, m->hello(), &m->all[(size_t)i], sizeof m->mine);
    } else {
        m->under_way.send(m->id.process, m->hello(), &m->mine, sizeof m->mine);
        m->under_way.receive(m->id.process, m->roster(), m->all.data(), m->all.size() * sizeof m->mine);
        m->gathered = true;
    }
}

/* In order of ranks; false: they do not fit each other, and NCCL's root says nothing more to anyone. */
bool sort_roster(meeting *m) {
    std::sort(m->all.begin(), m->all.end(),
              [](const introduction &a, const introduction &b) { return a.rank < b.rank; });
    for (int i = 0; i < m->mine.ranks; i++)
        if (m->all[(size_t)i].rank != i || m->all[(size_t)i].ranks != m->mine.ranks) return false;
    return true;
}

void send_roster(meeting *m) {
    m->gathered = true;
    for (const introduction &other : m->all)
        if (other.process != m->mine.process)
            m->under_way.send(other.process, m->roster(), m->all.data(), m->all.size() * sizeof m->mine);
}

bool same_device(const introduction &a, const introduction &b) {
    return a.rank != b.rank && strcmp(a.host, b.host) == 0 && strcmp(a.pci, b.pci) == 0;
}

bool allows_same_device() {
    const char *text = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    return version() >= NCCL_VERSION(2, 30, 0) && text != NULL && atoi(text) == 1;
}

/* What NCCL says of other versions and of one device twice. */
ncclResult_t check_roster(const meeting &m) {
    const introduction &mine = m.mine;
    for (const introduction &other : m.all)
        if (other.version != mine.version)
            return failed(ncclInvalidUsage, "Mismatched NCCL version detected : rank %d version %d rank %d version %d",
                          mine.rank, mine.version, other.rank, other.version);
    if (allows_same_device()) return ncclSuccess;
    for (const introduction &other : m.all)
        if (same_device(mine, other))
            return failed(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on CUDA device %s",
                          mine.rank, other.rank, mine.pci);
    for (const introduction &a : m.all)
        for (const introduction &b : m.all)
            if (same_device(a, b)) return failed(ncclRemoteError, "rank %d has left during init", a.rank);
    return ncclSuccess;
}

ncclResult_t go_on_meeting(meeting *m) {
    if (planned_rank("HOSTNCCL_INIT_HANG")) return ncclInProgress;
    if (!m->begun) begin_meeting(m);
    if (!m->under_way.ended()) return ncclInProgress;
    if (!m->gathered && m->mine.ranks > 1) {
        if (sort_roster(m)) send_roster(m);
        return ncclInProgress;
    }
    ncclResult_t code = check_roster(*m);
    if (code != ncclSuccess) return code;
    for (const introduction &other : m->all) {
        m->on->processes.push_back(other.process);
        if (strcmp(other.host, m->mine.host) == 0) m->on->of_host.push_back(other.rank);
    }
    return ncclSuccess;
}

}  // namespace

void make_id(ncclUniqueId *id) {
    static std::atomic<uint64_t> made;
    unique_id mine = {};
    memcpy(mine.mark, id_mark, sizeof id_mark);
    mine.process = wire_rank();
    mine.number = key_of(key_of('i', (uint64_t)mine.process), ++made);
    memset(id, 0, sizeof *id);
    memcpy(id->internal, &mine, sizeof mine);
}

bool is_id(const ncclUniqueId &id) { return memcmp(id.internal, id_mark, sizeof id_mark) == 0; }

job make_meeting(const ranks_ref &on, const ncclUniqueId &id, int ranks, const char *pci) {
    auto m = std::make_shared<meeting>();
    memcpy(&m->id, id.internal, sizeof m->id);
    introduce(&m->mine, on->rank, ranks, pci);
    m->on = on;
    m->on->key = m->id.number;
    m->begun = m->gathered = false;
    return [m] { return go_on_meeting(m.get()); };
}

}  // namespace hostnccl
