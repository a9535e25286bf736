/* plugin.c: opens a backend's shared object and checks that its table is one that we understand. */
#include <dlfcn.h>
#include <string.h>

#include "backend/backend.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"

static dpt_status host_error(dpt_status code, const char *message) { return dpt_error(code, "%s", message); }
static dpt_status host_error_prefix(dpt_status code, const char *prefix) {
    return dpt_error_prefix(code, "%s", prefix);
}
static void host_log(dpt_log_level level, const char *message) { dpt_log(level, "%s", message); }

static const dpt_host host = {
    .abi = DPT_BACKEND_ABI,
    .error = host_error,
    .error_prefix = host_error_prefix,
    .last_error = dpt_last_error,
    .log = host_log,
    .alloc = dpt_alloc,
    .release = dpt_free,
    .random_key = dpt_random_key,
    .gather = dpt_control_gather,
    .broadcast = dpt_control_broadcast,
    .agree = dpt_control_agree,
    .meet = dpt_control_meet,
};

dpt_status dpt_plugin_open(const char *file, uint32_t n_kernels, const dpt_backend **backend) {
    *backend = NULL;
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    DPT_CHECK(object != NULL, DPT_ERR_DEVICE, "%s", dlerror());
    dpt_backend_table_fn table;
    void *symbol = dlsym(object, DPT_BACKEND_SYMBOL);
    memcpy(&table, &symbol, sizeof table);
    DPT_CHECK(table != NULL, DPT_ERR_DEVICE, "%s: no symbol %s", file, DPT_BACKEND_SYMBOL);
    const dpt_backend *b = table(&host);
    DPT_CHECK(b != NULL && b->abi == DPT_BACKEND_ABI, DPT_ERR_DEVICE,
              "%s: backend interface %u, this library has %d: build both from one source", file, b ? b->abi : 0,
              DPT_BACKEND_ABI);
    DPT_CHECK(b->n_kernels == n_kernels, DPT_ERR_DEVICE, "%s: %u operations, this library has %u", file, b->n_kernels,
              n_kernels);
    *backend = b;
    return DPT_OK;
}
