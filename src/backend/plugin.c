/* plugin.c: opens a backend's shared object and checks that its table is one that we understand. */
#include <dlfcn.h>
#include <string.h>

#include "backend/backend.h"

dpt_status dpt_plugin_open(const char *file, uint32_t n_kernels, const dpt_backend **backend) {
    *backend = NULL;
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    DPT_CHECK(object != NULL, DPT_ERR_DEVICE, "%s", dlerror());
    dpt_backend_table_fn table;
    void *symbol = dlsym(object, DPT_BACKEND_SYMBOL);
    memcpy(&table, &symbol, sizeof table);
    DPT_CHECK(table != NULL, DPT_ERR_DEVICE, "%s: no symbol %s", file, DPT_BACKEND_SYMBOL);
    const dpt_backend *b = table();
    DPT_CHECK(b != NULL && b->abi == DPT_BACKEND_ABI, DPT_ERR_DEVICE,
              "%s: backend interface %u, this library has %d: build both from one source", file, b ? b->abi : 0,
              DPT_BACKEND_ABI);
    DPT_CHECK(b->n_kernels == n_kernels, DPT_ERR_DEVICE, "%s: %u operations, this library has %u", file, b->n_kernels,
              n_kernels);
    *backend = b;
    return DPT_OK;
}
