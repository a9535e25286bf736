/* fake_plugin.c: backends as shared objects, for test_plugin.c: which one is chosen when it is compiled. The good one
 * hands out the CPU's table under another name. */
#include "backend/backend.h"
#include "ops/cpu_backend.h"

DPT_API const dpt_backend *dpt_backend_table(const dpt_host *host);
DPT_API int dpt_something_else(void);

int dpt_something_else(void) { return 1; }

#if defined(FAKE_GOOD)
const dpt_backend *dpt_backend_table(const dpt_host *host) {
    (void)host;
    static dpt_backend table;
    table = *dpt_cpu_backend();
    table.name = "fake";
    return &table;
}
#elif defined(FAKE_ABI)
const dpt_backend *dpt_backend_table(const dpt_host *host) {
    (void)host;
    static const dpt_backend table = {.abi = DPT_BACKEND_ABI + 6};
    return &table;
}
#elif defined(FAKE_EMPTY)
const dpt_backend *dpt_backend_table(const dpt_host *host) {
    (void)host;
    return NULL;
}
#endif
