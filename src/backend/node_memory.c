/* node_memory.c: see node_memory.h. The first rank of a host makes the file (memfd_create), the others open it through
 * /proc/<process>/fd: no name that could be taken or left behind. */
#include "backend/node_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const dpt_node_memory none = {.descriptor = -1};

static dpt_status create(uint64_t bytes, dpt_node_memory *memory) {
    DPT_CHECK(bytes > 0 && bytes <= INT64_MAX, DPT_ERR_ARG, "%llu bytes of shared memory", (unsigned long long)bytes);
    memory->bytes = bytes;
    memory->descriptor = memfd_create("dptrain", MFD_CLOEXEC);
    DPT_CHECK(memory->descriptor >= 0, DPT_ERR_MEMORY, "memfd_create: %s", strerror(errno));
    DPT_CHECK(ftruncate(memory->descriptor, (off_t)bytes) == 0, DPT_ERR_MEMORY, "%llu bytes of shared memory: %s",
              (unsigned long long)bytes, strerror(errno));
    return DPT_OK;
}

static dpt_status map(dpt_node_memory *memory) {
    void *at = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->descriptor, 0);
    DPT_CHECK(at != MAP_FAILED, DPT_ERR_MEMORY, "%llu bytes of shared memory: %s", (unsigned long long)memory->bytes,
              strerror(errno));
    memory->data = at;
    return DPT_OK;
}

/* What the first rank tells the others of its host. */
typedef struct offer {
    int64_t process, descriptor;
    uint64_t bytes, device, inode;
} offer;

static dpt_status make_offer(const dpt_node_memory *memory, offer *o) {
    struct stat about;
    DPT_CHECK(fstat(memory->descriptor, &about) == 0, DPT_ERR_MEMORY, "shared memory: %s", strerror(errno));
    *o = (offer){.process = getpid(),
                 .descriptor = memory->descriptor,
                 .bytes = memory->bytes,
                 .device = about.st_dev,
                 .inode = about.st_ino};
    return DPT_OK;
}

/* Another process of that number, in other name spaces, would have another file there. */
static dpt_status take_offer(const offer *o, dpt_node_memory *memory) {
    char path[64];
    struct stat about;
    memory->bytes = o->bytes;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)o->process, (long long)o->descriptor);
    memory->descriptor = open(path, O_RDWR | O_CLOEXEC);
    DPT_CHECK(memory->descriptor >= 0, DPT_ERR_UNSUPPORTED, "%s: %s", path, strerror(errno));
    DPT_CHECK(fstat(memory->descriptor, &about) == 0 && about.st_dev == o->device && about.st_ino == o->inode,
              DPT_ERR_UNSUPPORTED, "%s is another file here than on the first rank of the host", path);
    return DPT_OK;
}

/* Over the ranks of the host. */
static dpt_status share(const dpt_control *node, uint64_t bytes, dpt_node_memory *memory) {
    offer o = {0};
    dpt_status status = DPT_OK;
    if (node->rank == 0) status = create(bytes, memory);
    if (node->rank == 0 && status == DPT_OK) status = make_offer(memory, &o);
    DPT_TRY(dpt_control_agree(node, status));
    DPT_TRY(dpt_control_broadcast(node, &o, sizeof o, 0));
    if (node->rank != 0) status = take_offer(&o, memory);
    if (status == DPT_OK) status = map(memory);
    return dpt_control_agree(node, status);
}

dpt_status dpt_node_memory_open(const dpt_control *control, uint64_t bytes, dpt_node_memory *memory) {
    *memory = none;
    dpt_control node = {.rank = control->local_rank,
                        .world = control->local_world,
                        .local_rank = control->local_rank,
                        .local_world = control->local_world};
    DPT_TRY(
        DPT_MPI(MPI_Comm_split_type(control->comm, MPI_COMM_TYPE_SHARED, control->rank, MPI_INFO_NULL, &node.comm)));
    MPI_Comm_set_errhandler(node.comm, MPI_ERRORS_RETURN);
    dpt_status status = share(&node, bytes, memory);
    MPI_Comm_free(&node.comm);
    if (status != DPT_OK) dpt_node_memory_close(memory);
    return status;
}

dpt_status dpt_node_memory_open_own(uint64_t bytes, dpt_node_memory *memory) {
    *memory = none;
    dpt_status status = create(bytes, memory);
    if (status == DPT_OK) status = map(memory);
    if (status != DPT_OK) dpt_node_memory_close(memory);
    return status;
}

void dpt_node_memory_close(dpt_node_memory *memory) {
    if (memory->data) munmap(memory->data, memory->bytes);
    if (memory->bytes > 0 && memory->descriptor >= 0) close(memory->descriptor);
    *memory = none;
}

dpt_status dpt_node_memory_reserve(const dpt_node_memory *memory, uint64_t offset, uint64_t bytes) {
    int error;
    do error = posix_fallocate(memory->descriptor, (off_t)offset, (off_t)bytes);
    while (error == EINTR);
    DPT_CHECK(error == 0, DPT_ERR_MEMORY, "%llu bytes of shared memory: %s", (unsigned long long)bytes,
              strerror(error));
    return DPT_OK;
}
