/* test_hostcuda.c: CUDA on the host does what a kernel's author counts on, and finds what it is there to find: each
 * kind of mistake is planted once. A check that needs luck in the choice of an order is tried often. */
#include "test_hostcuda.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- kernels ---- */

static void indices(void) {
    enum { N = 12 * 64 };
    int host[N];
    void *out;
    CHECK_CUDA(cudaMalloc(&out, sizeof host));
    CHECK_CUDA(cudaMemset(out, 0, sizeof host));
    CHECK_CUDA(probe_number(out, NULL));
    CHECK_CUDA(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int i = 0; i < N; i++) wrong += host[i] != i;
    CHECK_EQ_I64(wrong, 0);
    CHECK_CUDA(cudaFree(out));
}

static int block_sums_wrong(int barriers_kept) {
    enum { BLOCKS = 6 };
    float x[BLOCKS * 256], sums[BLOCKS];
    for (int i = 0; i < BLOCKS * 256; i++) x[i] = (float)(i % 7);
    float *device = device_floats(x, BLOCKS * 256), *out = device_floats(NULL, BLOCKS);
    CHECK_CUDA(probe_block_sum(device, out, BLOCKS, barriers_kept, NULL));
    read_floats(out, sums, BLOCKS);
    int wrong = 0;
    for (int b = 0; b < BLOCKS; b++) {
        float sum = 0;
        for (int i = 0; i < 256; i++) sum += x[b * 256 + i];
        wrong += !(sums[b] == sum);
    }
    CHECK_CUDA(cudaFree(device));
    CHECK_CUDA(cudaFree(out));
    return wrong;
}

static void barriers(void) {
    int without_first = 0, without_second = 0;
    for (int i = 0; i < TRIES; i++) {
        CHECK_EQ_I64(block_sums_wrong(3), 0);
        without_first += block_sums_wrong(2);
        without_second += block_sums_wrong(1);
    }
    CHECK(without_first > 0);
    CHECK(without_second > 0);
}

static void warps(void) {
    int got[6 * 32];
    void *out;
    CHECK_CUDA(cudaMalloc(&out, sizeof got));
    CHECK_CUDA(probe_warp(out, NULL));
    CHECK_CUDA(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost));
    int wrong = 0;
    for (int v = 0; v < 32; v++) {
        wrong += got[v] != 31 - v;
        wrong += got[32 + v] != (v ^ 1);
        wrong += got[64 + v] != (v + 2 < 32 ? v + 2 : v);
        wrong += got[96 + v] != (v < 3 ? v : v - 3);
        wrong += got[128 + v] != (v ^ 1);
        wrong += got[160 + v] != (int)0xaaaaaaaau;
    }
    CHECK_EQ_I64(wrong, 0);
    CHECK_CUDA(probe_votes(out, NULL));
    CHECK_CUDA(cudaMemcpy(got, out, 4 * sizeof(int), cudaMemcpyDeviceToHost));
    CHECK_EQ_I64(got[0], 48);
    CHECK_EQ_I64(got[1], 1);
    CHECK_EQ_I64(got[2], 0);
    CHECK_EQ_I64(got[3], 1);
    CHECK_CUDA(probe_ended(out, NULL));
    CHECK_CUDA(cudaMemcpy(got, out, sizeof(int), cudaMemcpyDeviceToHost));
    CHECK_EQ_I64(got[0], 40);
    CHECK_CUDA(cudaFree(out));
}

static void atomics(void) {
    struct {
        double wide;
        float sum;
        int most;
        unsigned wrapped;
    } host = {0, 0, 0, 0}, *device;
    void *memory;
    CHECK_CUDA(cudaMalloc(&memory, sizeof host));
    device = memory;
    CHECK_CUDA(cudaMemcpy(device, &host, sizeof host, cudaMemcpyHostToDevice));
    CHECK_CUDA(probe_atomics(&device->sum, &device->wide, &device->most, &device->wrapped, NULL));
    CHECK_CUDA(cudaMemcpy(&host, device, sizeof host, cudaMemcpyDeviceToHost));
    CHECK_NEAR(host.sum, 64, 0);
    CHECK_NEAR(host.wide, 32, 0);
    CHECK_EQ_I64(host.most, 100);
    CHECK_EQ_I64(host.wrapped, 4); /* 64 modulo 10 */
    CHECK_CUDA(cudaFree(memory));
}

static void unwritten_memory(void) {
    float got[16];
    float *x = device_floats(NULL, 16), *y = device_floats(NULL, 16);
    CHECK_CUDA(probe_map(x, y, 16, 1, 0, NULL));
    read_floats(y, got, 16);
    for (int i = 0; i < 16; i++) CHECK(isnan(got[i]));
    for (int write = 1; write >= 0; write--) { /* what one launch or block leaves no other one sees */
        CHECK_CUDA(probe_unwritten_shared(y, 8, write, NULL));
        read_floats(y, got, 16);
        for (int i = 0; i < 16; i++) CHECK(isnan(got[i]));
    }
    CHECK_CUDA(cudaFree(x));
    CHECK_CUDA(cudaFree(y));
}

static void launch_limits(void) {
    dim3 one = {1, 1, 1};
    const struct {
        dim3 grid, block;
        size_t shared;
        cudaError_t code;
    } cases[] = {{{1, 1, 1}, {1024, 1, 1}, 0, cudaSuccess},
                 {{1, 1, 1}, {1025, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {32, 32, 2}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {1, 1, 65}, 0, cudaErrorInvalidConfiguration},
                 {{0, 1, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 65536, 1}, {32, 1, 1}, 0, cudaErrorInvalidConfiguration},
                 {{1, 1, 1}, {32, 1, 1}, 48 * 1024, cudaSuccess},
                 {{1, 1, 1}, {32, 1, 1}, 48 * 1024 + 1, cudaErrorInvalidValue}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_CODE(probe_empty(cases[i].grid, cases[i].block, cases[i].shared, NULL), cases[i].code);
    CHECK_CODE(probe_allow_shared(227 * 1024 + 1), cudaErrorInvalidValue);
    CHECK_CUDA(probe_allow_shared(227 * 1024));
    CHECK_CUDA(probe_empty(one, one, 227 * 1024, NULL));
    cudaStream_t stream = make_stream();
    CHECK_CODE(cudaStreamQuery(stream), cudaSuccess);
    CHECK_CUDA(cudaStreamDestroy(stream));
    CHECK_CODE(probe_empty(one, one, 0, stream), cudaErrorContextIsDestroyed);
    CHECK(cudaMemset(NULL, 0, 4) == cudaErrorInvalidValue); /* an error that is not cleared shows at the next launch */
    CHECK_CODE(probe_empty(one, one, 0, NULL), cudaErrorInvalidValue);
}

/* ---- mistakes that end the process ---- */

static void make_mistake(probe_mistake mistake, int floats, int index) {
    float *x = device_floats(NULL, floats);
    (void)probe_wrong(mistake, x, index, NULL);
    (void)cudaDeviceSynchronize();
    (void)cudaFree(x);
}
static void store_past_page(void) { make_mistake(PROBE_STORE, 64, 64); }
static void store_past_end(void) { make_mistake(PROBE_STORE, 10, 10); }
static void store_before(void) { make_mistake(PROBE_STORE, 64, -1); }
static void misaligned(void) { make_mistake(PROBE_VECTOR, 64, 1); }
static void store_past_shared(void) { make_mistake(PROBE_SHARED, 64, 12); }
static void store_at_end_of_shared(void) { make_mistake(PROBE_SHARED, 64, 11); }
static void two_barriers(void) { make_mistake(PROBE_BARRIERS, 64, 0); }
static void late_warp(void) { make_mistake(PROBE_LATE_WARP, 64, 0); }
static void outside_mask(void) { make_mistake(PROBE_MASK, 64, 0); }
static void two_operations(void) { make_mistake(PROBE_WARP_PLACES, 64, 0); }

static void host_reads_device(void) {
    float host[64] = {0};
    float *x = device_floats(host, 64); /* a copy has opened it, and closed it again */
    fprintf(stderr, "%g\n", (double)*(volatile float *)x);
}

static void wrong_kernels(void) {
    check_dies(store_past_page, "thread (3,0,0): illegal address");
    check_dies(store_past_page, "byte 256 of 256 bytes of device memory");
    check_dies(store_past_end, "byte 40 of 40 bytes of device memory");
    check_dies(store_before, "byte -4 of 256 bytes of device memory");
    check_dies(misaligned, "misaligned");
    check_dies(store_past_shared, "kernel store_shared, block (0,0,0)");
    check_dies(store_at_end_of_shared, "wrote byte 44 of 40 bytes of dynamic shared memory");
    check_dies(two_barriers, "divergent barrier");
    check_dies(late_warp, "waits for ever");
    check_dies(outside_mask, "is not in the mask 0000ffff");
    check_dies(two_operations, "divergent warp");
    check_dies(host_reads_device, "the host touched device memory");
}

/* ---- what the environment plays ---- */

/* Three devices; contexts are counted by the caller. */
static void peers(void) {
    int there = 7, can = 7, value = 7;
    CHECK_CUDA(cudaDeviceGetByPCIBusId(&there, "0000:11:00.0"));
    CHECK_EQ_I64(there, 1);
    CHECK_CODE(cudaDeviceGetByPCIBusId(&there, "0000:13:00.0"), cudaErrorInvalidDevice);
    CHECK_CUDA(cudaDeviceCanAccessPeer(&can, 0, 2));
    CHECK_EQ_I64(can, 1);
    CHECK_CUDA(cudaDeviceCanAccessPeer(&can, 2, 2));
    CHECK_EQ_I64(can, 0);
    CHECK_CODE(cudaDeviceCanAccessPeer(&can, 0, 3), cudaErrorInvalidDevice);
    CHECK_CODE(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrAccessSupported, 1, 1), cudaErrorInvalidDevice);
    setenv("HOSTCUDA_NO_NVLINK", "1", 1);
    CHECK_CUDA(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrNativeAtomicSupported, 0, 1));
    CHECK_EQ_I64(value, 0);
    CHECK_CUDA(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrNativeAtomicSupported, 0, 2));
    CHECK_EQ_I64(value, 1);
    CHECK_CUDA(cudaDeviceCanAccessPeer(&can, 0, 1));
    CHECK_EQ_I64(can, 1);
    setenv("HOSTCUDA_NO_PEER", "2", 1);
    CHECK_CUDA(cudaDeviceCanAccessPeer(&can, 2, 0));
    CHECK_EQ_I64(can, 0);
    CHECK_CUDA(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrAccessSupported, 0, 2));
    CHECK_EQ_I64(value, 0);
    CHECK_CUDA(cudaDeviceGetP2PAttribute(&value, cudaDevP2PAttrNativeAtomicSupported, 0, 2));
    CHECK_EQ_I64(value, 0);
    unsetenv("HOSTCUDA_NO_PEER");
    unsetenv("HOSTCUDA_NO_NVLINK");
}

static void machines(void) {
    int n = -1;
    char pci[32];
    struct cudaDeviceProp p;
    dim3 one = {1, 1, 1};
    void *memory = NULL;
    setenv("HOSTCUDA_DEVICES", "0", 1);
    CHECK_CODE(cudaGetDeviceCount(&n), cudaErrorNoDevice);
    CHECK_EQ_I64(n, 0);
    setenv("HOSTCUDA_DEVICES", "3", 1);
    setenv("HOSTCUDA_DRIVER", "11080", 1);
    CHECK_CODE(cudaGetDeviceCount(&n), cudaErrorInsufficientDriver);
    CHECK_CODE(cudaSetDevice(0), cudaErrorInsufficientDriver);
    unsetenv("HOSTCUDA_DRIVER");
    CHECK_CUDA(cudaGetDeviceCount(&n));
    CHECK_EQ_I64(n, 3);
    setenv("CUDA_VISIBLE_DEVICES", "2,0,7,1", 1);
    CHECK_CUDA(cudaGetDeviceCount(&n));
    CHECK_EQ_I64(n, 2);
    CHECK_CUDA(cudaDeviceGetPCIBusId(pci, sizeof pci, 0));
    CHECK_EQ_TEXT(pci, "0000:12:00.0");
    setenv("HOSTCUDA_BUSY", "2", 1);
    int mode = -1;
    CHECK_CUDA(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, 0));
    CHECK_EQ_I64(mode, cudaComputeModeExclusiveProcess);
    long long contexts = hostcuda_count("contexts");
    CHECK_CODE(cudaSetDevice(0), cudaErrorDevicesUnavailable);
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts);
    unsetenv("HOSTCUDA_BUSY");
    CHECK_CUDA(cudaSetDevice(0)); /* number 2 of the machine */
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts | 4);
    unsetenv("CUDA_VISIBLE_DEVICES");
    peers();
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts | 4);
    CHECK_CUDA(cudaSetDevice(1));
    CHECK_EQ_I64(hostcuda_count("contexts"), contexts | 6);
    CHECK_CODE(cudaSetDevice(3), cudaErrorInvalidDevice);
    CHECK_CUDA(cudaSetDevice(0));
    unsetenv("HOSTCUDA_DEVICES");
    setenv("HOSTCUDA_CAPABILITY", "7.5", 1);
    setenv("HOSTCUDA_NAME", "some MIG 1g.10gb", 1);
    CHECK_CUDA(cudaGetDeviceProperties(&p, 0));
    CHECK_EQ_I64(10 * p.major + p.minor, 75);
    CHECK_EQ_TEXT(p.name, "some MIG 1g.10gb");
    CHECK_CODE(probe_empty(one, one, 0, NULL), cudaErrorNoKernelImageForDevice);
    unsetenv("HOSTCUDA_CAPABILITY");
    unsetenv("HOSTCUDA_NAME");
    setenv("HOSTCUDA_MEMORY", "1000000", 1);
    CHECK_CODE(cudaMalloc(&memory, 1000001), cudaErrorMemoryAllocation);
    unsetenv("HOSTCUDA_MEMORY");
}

/* In a child: ends well, which is the failure there, where the call's result is another. */
static void expect(int step, cudaError_t got, cudaError_t expected) {
    if (got == expected) return;
    fprintf(stderr, "step %d: %s\n", step, cudaGetErrorName(got));
    _exit(0);
}

/* Lost at the third kernel from here, not before, and for ever. */
static void lose_device(void) {
    dim3 one = {1, 1, 1};
    void *memory;
    char after[32];
    snprintf(after, sizeof after, "%lld", hostcuda_count("kernels") + 2);
    setenv("HOSTCUDA_LOST_AFTER", after, 1);
    for (int i = 0; i < 2; i++) {
        expect(1, probe_empty(one, one, 0, NULL), cudaSuccess);
        expect(2, cudaDeviceSynchronize(), cudaSuccess);
    }
    (void)probe_empty(one, one, 0, NULL);
    expect(3, cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    expect(4, cudaMalloc(&memory, 4), cudaErrorLaunchFailure);
    expect(5, cudaSetDevice(0), cudaErrorLaunchFailure);
    fprintf(stderr, "lost\n");
    _exit(3);
}
static void lost_devices(void) { check_dies(lose_device, "lost"); }

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "hostcuda", {"indices", indices}, {"barriers", barriers}, {"warps", warps},
                      {"atomics", atomics}, {"unwritten_memory", unwritten_memory}, {"launch_limits", launch_limits},
                      {"wrong_kernels", wrong_kernels}, {"waits", test_waits}, {"legacy_stream", test_legacy_stream},
                      {"slots", test_slots}, {"queries", test_queries}, {"copies", test_copies},
                      {"graphs", test_graphs}, {"captures", test_captures}, {"forked_captures", test_forked_captures},
                      {"stale_addresses", test_stale_addresses}, {"machines", machines}, {"lost_devices", lost_devices},
                      {"counters", test_counters}, {"products", test_products},
                      {"transposes_and_batches", test_transposes_and_batches}, {"epilogues", test_epilogues},
                      {"sixteen_bit", test_sixteen_bit}, {"refusals", test_refusals}, {"algorithms", test_algorithms});
}
