/* fibre.h: stacks to run a kernel's threads on, and the switch between them. On x86-64 the switch saves what the
 * calling convention lets a callee keep and nothing else; elsewhere, or with HOSTCUDA_UCONTEXT, it is swapcontext.
 * Under AddressSanitizer each switch is announced. Invariant: a fibre never ends, it is left and entered again. */
#ifndef HOSTCUDA_FIBRE_H
#define HOSTCUDA_FIBRE_H

#include <stddef.h>

#if !defined(__x86_64__) && !defined(HOSTCUDA_UCONTEXT)
#define HOSTCUDA_UCONTEXT
#endif
#ifdef HOSTCUDA_UCONTEXT
#include <ucontext.h>
#endif

namespace hostcuda {

/* One flow of control: a fibre's, or the caller's own (then without a stack of ours). */
struct context {
#ifdef HOSTCUDA_UCONTEXT
    ucontext_t machine;
#else
    void *stack_pointer;
#endif
    const void *stack; /* lowest byte; NULL: not known yet */
    size_t stack_bytes;
    void *sanitizer;
};

/* Makes `fibre` start at entry(), which must not return, on stacks[index]. The stacks are mapped at the first call,
 * each with a page below it that cannot be touched. */
void fibre_create(context *fibre, int index, void (*entry)());

/* Leaves `from`, which must be the running one, for `to`. Returns when something switches back. */
void fibre_switch(context *from, context *to);

/* The first thing that entry() does. */
void fibre_entered();

}  // namespace hostcuda

#endif
