/* fibres.cpp: executes a grid: blocks one after another, the threads of a block on fibres.
 *
 * A fibre takes thread after thread until one has to wait; then another fibre goes on, chosen at random among those
 * that may run and a fresh one for the next thread not started. So a kernel without barriers costs a function call a
 * thread, and one with barriers meets every order in some seed. Shared memory is filled with 0xff, NaN in every float
 * type, before each block.
 *
 * Invariant: a fibre is running, in `ready`, in `parked`, or waits at the barrier or in a warp operation: when nothing
 * runs and nothing is ready, the kernel is stuck, and that is reported. */
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.h"
#include "fibre.h"

namespace hostcuda {

place here;

enum { max_warps = max_threads / warp_size, max_groups = 4 };

struct fibre {
    context flow;
    uint3 thread;
    unsigned lane, warp;
    uint64_t value, result;
    unsigned source_lane;
    bool predicate;
};

/* Lanes that have met in one warp operation, of one mask. */
struct group {
    uint32_t mask, arrived;
    warp_operation operation;
    const char *file;
    int line;
    fibre *lanes[warp_size];
};

static struct executor {
    fibre fibres[max_threads];
    int created;
    fibre *running;
    context caller;
    const std::function<void()> *body;

    fibre *ready[max_threads], *parked[max_threads], *at_barrier[max_threads];
    int n_ready, n_parked, n_at_barrier;
    int barrier_true, barrier_result, barrier_line;
    const char *barrier_file;
    group groups[max_warps][max_groups];

    unsigned count, started, ended; /* threads of this block */
    unsigned first, stride;         /* thread number i of the order is (first + i * stride) mod count */
} all;

unsigned lane() { return all.running->lane; }

static void describe_place(char *text, size_t bytes) {
    if (here.kernel == NULL)
        snprintf(text, bytes, "hostcuda: ");
    else
        snprintf(text, bytes, "hostcuda: kernel %s, block (%u,%u,%u), thread (%u,%u,%u): ", here.kernel, here.block.x,
                 here.block.y, here.block.z, here.thread.x, here.thread.y, here.thread.z);
}

void fatal(const char *format, ...) {
    char text[1024];
    describe_place(text, sizeof text);
    size_t n = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + n, sizeof text - n - 1, format, args);
    va_end(args);
    strcat(text, "\n");
    if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(134);
    signal(SIGABRT, SIG_DFL); /* others' handlers allocate, which may wait for ever now */
    abort();
}

uint32_t random_below(uint32_t n) {
    static uint64_t state;
    if (state == 0) {
        const char *seed = getenv("HOSTCUDA_SEED");
        state = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 0xd1b54a32d192ed03u;
        if (state == 0) state = 1;
    }
    state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
    return (uint32_t)(((state >> 32) * n) >> 32);
}

static void thread_ended();

static void start_next_thread(fibre *f) {
    unsigned i = (unsigned)((all.first + (uint64_t)all.started++ * all.stride) % all.count);
    f->thread.x = i % here.block_size.x;
    f->thread.y = i / here.block_size.x % here.block_size.y;
    f->thread.z = i / (here.block_size.x * here.block_size.y);
    f->lane = i % warp_size, f->warp = i / warp_size;
    here.thread = f->thread;
    (*all.body)();
    thread_ended();
}

[[noreturn]] static void stuck() {
    if (all.n_at_barrier > 0) {
        here.thread = all.at_barrier[0]->thread;
        fatal("waits for ever: %d of %u threads are at the barrier of %s:%d, %u have ended, the others wait elsewhere",
              all.n_at_barrier, all.count, all.barrier_file, all.barrier_line, all.ended);
    }
    for (int w = 0; w < max_warps; w++)
        for (const group &g : all.groups[w])
            if (g.arrived != 0)
                fatal("waits for ever: lanes %08x of warp %d are in the warp operation of %s:%d, whose mask is %08x",
                      g.arrived, w, g.file, g.line, g.mask);
    fatal("no thread can run");
}

/* Leaves the running fibre, which waits or is parked, for another; returns when it is chosen again. */
static void run_another() {
    fibre *own = all.running, *next;
    int choices = all.n_ready + (all.started < all.count ? 1 : 0);
    if (choices == 0 && all.ended == all.count) {
        fibre_switch(&own->flow, &all.caller);
        return;
    }
    if (choices == 0) stuck();
    int choice = (int)random_below((uint32_t)choices);
    if (choice < all.n_ready) {
        next = all.ready[choice];
        all.ready[choice] = all.ready[--all.n_ready];
    } else {
        next = all.parked[--all.n_parked];
    }
    all.running = next;
    here.thread = next->thread;
    fibre_switch(&own->flow, &next->flow);
}

static void fibre_main() {
    fibre_entered();
    for (;;) {
        fibre *own = all.running;
        while (all.started < all.count) start_next_thread(own);
        all.parked[all.n_parked++] = own;
        run_another();
    }
}

/* As many parked fibres as threads may have to wait at once; made when first needed. */
static void prepare_fibres(unsigned count) {
    while (all.created < (int)count) {
        fibre *f = &all.fibres[all.created];
        fibre_create(&f->flow, all.created++, fibre_main);
        all.parked[all.n_parked++] = f;
    }
}

static void release_barrier() {
    all.barrier_result = all.barrier_true;
    for (int i = 0; i < all.n_at_barrier; i++) {
        all.at_barrier[i]->result = (uint64_t)all.barrier_true;
        all.ready[all.n_ready++] = all.at_barrier[i];
    }
    all.n_at_barrier = all.barrier_true = 0;
}

/* A thread that has ended no longer counts at the barrier, as on the device. */
static void thread_ended() {
    all.ended++;
    if (all.n_at_barrier > 0 && (unsigned)all.n_at_barrier + all.ended == all.count) release_barrier();
}

int barrier(bool predicate, const char *file, int line) {
    if (all.n_at_barrier == 0)
        all.barrier_file = file, all.barrier_line = line;
    else if (line != all.barrier_line || strcmp(file, all.barrier_file) != 0)
        fatal("divergent barrier: it waits at %s:%d, thread (%u,%u,%u) of the block at %s:%d", file, line,
              all.at_barrier[0]->thread.x, all.at_barrier[0]->thread.y, all.at_barrier[0]->thread.z, all.barrier_file,
              all.barrier_line);
    all.barrier_true += predicate;
    if ((unsigned)all.n_at_barrier + 1 + all.ended == all.count) {
        release_barrier();
        return all.barrier_result;
    }
    fibre *own = all.running;
    all.at_barrier[all.n_at_barrier++] = own;
    run_another();
    return (int)own->result;
}

static void finish_warp_operation(group *g) {
    uint64_t ballot = 0;
    for (unsigned i = 0; i < warp_size; i++)
        if (g->mask >> i & 1 && g->lanes[i]->value != 0) ballot |= (uint64_t)1 << i;
    for (unsigned i = 0; i < warp_size; i++) {
        if ((g->mask >> i & 1) == 0) continue;
        fibre *f = g->lanes[i];
        f->result = g->operation == warp_operation::shuffle ? g->lanes[f->source_lane]->value : ballot;
        if (f != all.running) all.ready[all.n_ready++] = f;
    }
    g->arrived = 0;
}

static group *find_group(unsigned warp, uint32_t mask) {
    for (group &g : all.groups[warp])
        if (g.arrived != 0 && g.mask == mask) return &g;
    for (group &g : all.groups[warp]) {
        if (g.arrived != 0 && (g.mask & mask) != 0)
            fatal("warp operations of masks %08x and %08x at once: they share lanes", g.mask, mask);
        if (g.arrived == 0) {
            g.mask = mask;
            return &g;
        }
    }
    fatal("more than %d groups of a warp at once", max_groups);
}

uint64_t warp_exchange(uint32_t mask, uint64_t value, unsigned source_lane, warp_operation operation, const char *file,
                       int line) {
    fibre *own = all.running;
    if ((mask >> own->lane & 1) == 0) fatal("%s:%d: lane %u is not in the mask %08x", file, line, own->lane, mask);
    if (operation == warp_operation::shuffle && (mask >> source_lane & 1) == 0)
        fatal("%s:%d: reads lane %u, which is not in the mask %08x", file, line, source_lane, mask);
    group *g = find_group(own->warp, mask);
    if (g->arrived == 0)
        g->operation = operation, g->file = file, g->line = line;
    else if (g->operation != operation || g->line != line || strcmp(g->file, file) != 0)
        fatal("divergent warp: it is at %s:%d, other lanes of the mask %08x at %s:%d", file, line, mask, g->file,
              g->line);
    own->value = value;
    own->source_lane = source_lane;
    g->lanes[own->lane] = own;
    g->arrived |= 1u << own->lane;
    if (g->arrived == mask)
        finish_warp_operation(g);
    else
        run_another();
    return own->result;
}

/* ---- shared memory ---- */

/* The kernels' __shared__ variables are this object's thread_local ones, and nothing else is but this: whether they
 * have been filled, for a thread that comes new finds zeros. */
static thread_local struct { uint64_t filled, guard; } shared_state;
const uint64_t is_filled = 0x66696c6c65642121u;

struct segment {
    size_t offset_of_state, bytes;
};

static int find_segment(struct dl_phdr_info *info, size_t, void *found) {
    const char *code = reinterpret_cast<const char *>(find_segment),
               *base = reinterpret_cast<const char *>(info->dlpi_addr);
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &h = info->dlpi_phdr[i];
        if (h.p_type == PT_LOAD && code >= base + h.p_vaddr && code < base + h.p_vaddr + h.p_memsz) ours = true;
    }
    for (int i = 0; ours && i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != NULL) {
            segment *s = static_cast<segment *>(found);
            s->bytes = info->dlpi_phdr[i].p_memsz;
            s->offset_of_state =
                (size_t)(reinterpret_cast<char *>(&shared_state) - static_cast<char *>(info->dlpi_tls_data));
        }
    return ours;
}

struct span {
    char *at;
    size_t bytes;
};

/* All of it, filled with 0xff. */
static span static_shared() {
    static segment of_object;
    shared_state.guard = 0; /* touched, so that this thread has the segment */
    if (of_object.bytes == 0) dl_iterate_phdr(find_segment, &of_object);
    if (of_object.bytes == 0) fatal("the segment of __shared__ variables was not found");
    span all_of_it = {reinterpret_cast<char *>(&shared_state) - of_object.offset_of_state, of_object.bytes};
    if (shared_state.filled != is_filled) {
        memset(all_of_it.at, 0xff, all_of_it.bytes);
        shared_state.filled = is_filled;
    }
    return all_of_it;
}

/* The part of it that has been written, to within a piece. */
static span used_part(span s) {
    enum { piece = 256 };
    static unsigned char untouched[piece];
    memset(untouched, 0xff, piece);
    memset(&shared_state, 0xff, sizeof shared_state);
    size_t first = 0, last = s.bytes / piece * piece;
    while (first < last && memcmp(s.at + first, untouched, piece) == 0) first += piece;
    while (last > first && memcmp(s.at + last - piece, untouched, piece) == 0) last -= piece;
    if (last == s.bytes / piece * piece) last = s.bytes;
    shared_state.filled = is_filled;
    return {s.at + first, last - first};
}

static void fill(span s) {
    if (s.bytes > 0) memset(s.at, 0xff, s.bytes);
    shared_state.filled = is_filled;
}

/* Ends at a page that cannot be touched; what lies between the bytes asked for and that page is at most 15 bytes. */
static span dynamic_shared(size_t bytes) {
    static char *end;
    const size_t page = 4096;
    if (end == NULL) {
        size_t room = (shared_most + page - 1) / page * page;
        void *memory = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) fatal("no memory for dynamic shared memory");
        end = static_cast<char *>(memory) + room;
        mprotect(end, page, PROT_NONE);
    }
    return {end - (bytes + 15) / 16 * 16, (bytes + 15) / 16 * 16};
}

static void check_dynamic_end(span dynamic, size_t bytes) {
    for (size_t i = bytes; i < dynamic.bytes; i++)
        if (dynamic.at[i] != (char)0xff) fatal("wrote byte %zu of %zu bytes of dynamic shared memory", i, bytes);
}

/* ---- grids ---- */

static unsigned common_divisor(unsigned a, unsigned b) {
    while (b != 0) {
        unsigned rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* A random order of 0 … n-1: first + i * stride, modulo n. */
static void random_order(unsigned n, unsigned *first, unsigned *stride) {
    *first = random_below(n);
    do {
        *stride = 1 + random_below(n);
    } while (common_divisor(*stride, n) != 1);
}

static void run_block() {
    all.started = all.ended = 0;
    random_order(all.count, &all.first, &all.stride);
    fibre *f = all.parked[--all.n_parked];
    all.running = f;
    fibre_switch(&all.caller, &f->flow);
}

void run_grid(const launch_shape &shape, const std::function<void()> &thread) {
    span statics = static_shared(), dynamic = dynamic_shared(shape.shared_bytes), used = {NULL, 0};
    all.count = shape.block.x * shape.block.y * shape.block.z;
    all.body = &thread;
    prepare_fibres(all.count);
    here.block_size = shape.block, here.grid_size = shape.grid;
    here.dynamic_shared = dynamic.at;
    here.kernel = shape.name;
    uint64_t in_plane = (uint64_t)shape.grid.x * shape.grid.y, blocks = in_plane * shape.grid.z;
    unsigned first = 0, stride = 1;
    if (blocks <= UINT32_MAX) random_order((unsigned)blocks, &first, &stride);
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t b = (first + i * stride) % blocks;
        here.block = {(unsigned)(b % shape.grid.x), (unsigned)(b % in_plane / shape.grid.x), (unsigned)(b / in_plane)};
        fill(dynamic);
        run_block();
        check_dynamic_end(dynamic, shape.shared_bytes);
        if (i == 0) used = used_part(statics); /* what this kernel uses */
        fill(used);
    }
    here.kernel = NULL;
}

}  // namespace hostcuda
