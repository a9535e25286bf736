/* watchdog.c: see watchdog.h. */
#include "backend/watchdog.h"

dpt_status dpt_watchdog_start(const dpt_control *control, const dpt_watchdog_options *options,
                              dpt_watchdog **watchdog) {
    (void)control, (void)options;
    *watchdog = NULL;
    return DPT_OK;
}
void dpt_watchdog_watch(dpt_watchdog *watchdog, dpt_comm *comm) { (void)watchdog, (void)comm; }
void dpt_watchdog_stop(dpt_watchdog **watchdog) { (void)watchdog; }
