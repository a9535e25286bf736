/* block.h: what runs the threads of a kernel on the CPU: between kernel.h (what a kernel sees), fibres.cpp (which
 * executes a grid) and the queue (which decides when).
 *
 * A grid runs block by block, and one thread of it at a time, in an order that follows the seed. A thread runs until it
 * ends or waits for others (barrier, warp operation); only then it gets a stack of its own. Invariant: `here` describes
 * the thread that is running, on whatever stack. One host thread at a time executes grids: the queue's lock sees to
 * that. */
#ifndef HOSTCUDA_BLOCK_H
#define HOSTCUDA_BLOCK_H

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

#include <functional>

#pragma GCC visibility push(hidden) /* reached without a table of addresses: kernels read it all the time */
namespace hostcuda {

/* What cuda/README.md asks of a device; queries answer with these. */
enum {
    max_threads = 1024,
    warp_size = 32,
    shared_default = 48 * 1024, /* bytes of dynamic shared memory without an opt-in */
    shared_most = 227 * 1024,   /* with one */
    arguments_most = 32764      /* bytes */
};

struct launch_shape {
    const char *name;
    const void *function;
    dim3 grid, block;
    size_t shared_bytes;
};

struct place {
    uint3 thread, block;
    dim3 block_size, grid_size;
    void *dynamic_shared;
    const char *kernel; /* NULL: no kernel is running */
};
extern place here;

/* Runs every thread of the grid. */
void run_grid(const launch_shape &shape, const std::function<void()> &thread);

/* How much dynamic shared memory the kernel may have, beyond the default. */
void allow_shared(const void *function, size_t bytes);

/* Queues the grid on the stream; what a launch would refuse is refused here (queue.cpp). */
cudaError_t queue_kernel(const launch_shape &shape, cudaStream_t stream, std::function<void()> thread);

/* Waits for all threads of the block and returns how many of them gave true. */
int barrier(bool predicate, const char *file, int line);

/* Warp operations: every lane of the mask calls with the same operation; each gets what `operation` says. */
enum class warp_operation { sync, shuffle, ballot };
uint64_t warp_exchange(uint32_t mask, uint64_t value, unsigned source_lane, warp_operation operation, const char *file,
                       int line);
unsigned lane();

/* Says what and where on standard error, and aborts. */
[[noreturn]] void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Uniform in [0, n), from HOSTCUDA_SEED. */
uint32_t random_below(uint32_t n);

}  // namespace hostcuda
#pragma GCC visibility pop

#endif
