/* fault.cpp: what queued work did wrong, told before the process ends: which kernel or copy, which block and thread,
 * which address and the allocation nearest to it. Faults that have nothing to do with us go to whoever handled them
 * before. Invariant: the report is written on a stack of its own, for the fault may be a thread's stack running over.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "memory.h"

namespace hostcuda {

const char *running_operation;

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction before[NSIG];

static const char *describe_signal(int number, bool has_address) {
    switch (number) {
        case SIGILL: return "misaligned access (or undefined behaviour)";
        case SIGFPE: return "division of an integer by zero";
        case SIGBUS: return "misaligned access";
        default: return has_address ? "illegal address" : "misaligned or illegal address";
    }
}

static void handle(int number, siginfo_t *info, void *) {
    bool running = here.kernel != NULL || running_operation != NULL;
    bool has_address = number == SIGSEGV && info->si_code != SI_KERNEL;
    if (!running && !(has_address && memory_is_ours(info->si_addr))) {
        sigaction(number, &before[number], NULL); /* runs into it again, with the other handler */
        return;
    }
    char where[256] = "";
    if (has_address) memory_describe(info->si_addr, where, sizeof where);
    const char *what = describe_signal(number, has_address);
    if (running && here.kernel == NULL) fatal("%s: %s %p: %s", running_operation, what, info->si_addr, where);
    if (running) fatal("%s %p: %s", what, has_address ? info->si_addr : NULL, where);
    fatal("the host touched device memory, %p: %s", info->si_addr, where);
}

void fault_handler_install() {
    static bool installed;
    static char stack[64 * 1024];
    if (installed) return;
    installed = true;
    stack_t now, ours;
    memset(&ours, 0, sizeof ours);
    ours.ss_sp = stack, ours.ss_size = sizeof stack;
    if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0) sigaltstack(&ours, NULL);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int number : signals) sigaction(number, &action, &before[number]);
}

}  // namespace hostcuda
