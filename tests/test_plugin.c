/* test_plugin.c: opening a backend's shared object: one that is missing, has no table, another ABI number, another
 * number of operations; and a good one, whose device and kernels then work. */
#include <stdio.h>

#include "backend/backend.h"
#include "check.h"
#include "ops/op_table.h"

static const char *plugin(const char *kind) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/fake_plugin_%s.so", DPT_TEST_PLUGINS, kind);
    return path;
}

static void refused(const char *file, uint32_t n_kernels, const char *text) {
    const dpt_backend *backend = (const dpt_backend *)1;
    CHECK_FAILS(dpt_plugin_open(file, n_kernels, &backend), DPT_ERR_DEVICE, text);
    CHECK(strstr(dpt_last_error(), file) != NULL);
    CHECK(backend == NULL);
}

static void missing(void) { refused("/nonexistent/plugin.so", DPT_OP_COUNT, "No such file"); }
static void no_symbol(void) { refused(plugin("bare"), DPT_OP_COUNT, "no symbol " DPT_BACKEND_SYMBOL); }
static void no_table(void) { refused(plugin("empty"), DPT_OP_COUNT, "backend interface 0, this library has 3"); }
static void other_abi(void) { refused(plugin("abi"), DPT_OP_COUNT, "backend interface 9, this library has 3"); }

static void other_operations(void) {
    char text[96];
    snprintf(text, sizeof text, "%d operations, this library has %d", (int)DPT_OP_COUNT, (int)DPT_OP_COUNT + 1);
    refused(plugin("good"), DPT_OP_COUNT + 1, text);
}

/* y = relu(x) through the plug-in's own device and kernel. */
static void run_relu(const dpt_backend *b, dpt_device *device) {
    void *memory = NULL;
    const float x[4] = {-1, 2, -3, 4}, expected[4] = {0, 2, 0, 4};
    float y[4];
    CHECK_OK(device->ops->alloc(device, 2 * DPT_ALIGNMENT, DPT_FOR_COMPUTE, &memory));
    if (memory == NULL) return;
    const dpt_operand in = {.data = memory, .ndim = 1, .dim = {4}, .axis = -1, .count = 4, .row_count = 4};
    dpt_block block = {0};
    dpt_call call = {
        .op = DPT_OP_RELU, .n_in = 1, .n_out = 1, .in = {in}, .out = {in}, .device = device, .block = &block};
    call.out[0].data = (char *)memory + DPT_ALIGNMENT;
    const dpt_kernel *kernel = b->kernels[DPT_OP_RELU];
    CHECK_OK(device->ops->copy_in(device, memory, x, sizeof x, NULL));
    if (kernel->prepare) CHECK_OK(kernel->prepare(&call));
    if (kernel->bind) CHECK_OK(kernel->bind(&call));
    CHECK_OK(kernel->run(&call, NULL));
    if (kernel->release) kernel->release(&call);
    CHECK_OK(device->ops->copy_out(device, y, call.out[0].data, sizeof y, NULL));
    CHECK(memcmp(y, expected, sizeof y) == 0);
    device->ops->release(device, memory, 2 * DPT_ALIGNMENT, DPT_FOR_COMPUTE);
    CHECK_EQ_I64(device->allocated[DPT_FOR_COMPUTE], 0);
}

static void good(void) {
    const dpt_backend *b = NULL;
    dpt_device device;
    if (!CHECK_OK(dpt_plugin_open(plugin("good"), DPT_OP_COUNT, &b))) return;
    CHECK_EQ_TEXT(b->name, "fake");
    for (int op = 0; op < DPT_OP_COUNT; op++) CHECK((b->kernels[op] != NULL) == (dpt_cpu_kernels[op] != NULL));
    CHECK(b->kernels[DPT_OP_RELU] != dpt_cpu_kernels[DPT_OP_RELU]); /* the object's own, not ours */
    if (!CHECK_OK(b->device_open(NULL, 1, &device))) return;
    run_relu(b, &device);
    device.ops->close(&device);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "plugin", {"missing", missing}, {"no_symbol", no_symbol}, {"no_table", no_table},
                      {"other_abi", other_abi}, {"other_operations", other_operations}, {"good", good});
}
