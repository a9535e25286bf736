/* fibre.cpp: see fibre.h. */
#include "fibre.h"

#include <stdint.h>
#include <sys/mman.h>

#include "block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace hostcuda {

enum { stack_bytes = 256 * 1024, guard_bytes = 4096 };

static char *stacks;

static void map_stacks() {
    size_t bytes = (size_t)max_threads * stack_bytes;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) fatal("no memory for the stacks of a block's threads");
    stacks = static_cast<char *>(memory);
    for (int i = 0; i < max_threads; i++) mprotect(stacks + (size_t)i * stack_bytes, guard_bytes, PROT_NONE);
}

#ifndef HOSTCUDA_UCONTEXT
/* switch_stack(&saved, next): pushes the registers that a callee keeps, changes stacks, pops the other's. */
extern "C" void hostcuda_switch_stack(void **saved, void *next);
asm(R"(
    .text
    .hidden hostcuda_switch_stack
    .globl hostcuda_switch_stack
    .type hostcuda_switch_stack, @function
hostcuda_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size hostcuda_switch_stack, . - hostcuda_switch_stack
)");
#endif

void fibre_create(context *fibre, int index, void (*entry)()) {
    if (stacks == NULL) map_stacks();
    char *bottom = stacks + (size_t)index * stack_bytes + guard_bytes;
    /* tops at different offsets: equal ones would compete for the same sets of the cache */
    char *top = stacks + (size_t)(index + 1) * stack_bytes - (size_t)(index % 61) * 320;
    fibre->stack = bottom;
    fibre->stack_bytes = (size_t)(top - bottom);
    fibre->sanitizer = NULL;
#ifdef HOSTCUDA_UCONTEXT
    getcontext(&fibre->machine);
    fibre->machine.uc_stack.ss_sp = bottom;
    fibre->machine.uc_stack.ss_size = fibre->stack_bytes;
    fibre->machine.uc_link = NULL;
    makecontext(&fibre->machine, entry, 0);
#else
    void **stack = reinterpret_cast<void **>(top);
    *--stack = NULL; /* entry's return address, and the alignment that a call leaves */
    *--stack = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++) *--stack = NULL;
    fibre->stack_pointer = stack;
#endif
}

#if defined(__SANITIZE_ADDRESS__)
static context *left; /* the one that was switched away from */

/* Says that a stack has been entered, and learns the bounds of the one that was left: the caller's are not ours. */
static void announce_entry(void *sanitizer) {
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(sanitizer, &stack, &bytes);
    left->stack = stack, left->stack_bytes = bytes;
}
#endif

void fibre_switch(context *from, context *to) {
#if defined(__SANITIZE_ADDRESS__)
    left = from;
    __sanitizer_start_switch_fiber(&from->sanitizer, to->stack, to->stack_bytes);
#endif
#ifdef HOSTCUDA_UCONTEXT
    swapcontext(&from->machine, &to->machine);
#else
    hostcuda_switch_stack(&from->stack_pointer, to->stack_pointer);
#endif
#if defined(__SANITIZE_ADDRESS__)
    announce_entry(from->sanitizer);
#endif
}

void fibre_entered() {
#if defined(__SANITIZE_ADDRESS__)
    announce_entry(NULL);
#endif
}

}  // namespace hostcuda
