/* memory.cpp: see memory.h. One range of addresses is reserved for everything; allocations take it from the bottom up
 * and never give it back. Where an allocation does not begin or end at a page, the rest of the page is filled with a
 * pattern that is looked at later. */
#include "memory.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <map>

#include "block.h"
#include "setting.h"

namespace hostcuda {

namespace {

const size_t page = 4096;
const unsigned char canary = 0xa5;

struct allocation {
    memory_kind kind;
    char *base;         /* what the caller got: at a multiple of 256 */
    size_t bytes;       /* what the caller asked for */
    char *mapped, *end; /* whole pages */
};

char *range, *range_next, *range_end;
std::map<const char *, allocation> allocations, freed; /* by base; those freed are kept for reports */
std::map<const char *, size_t> registered;
size_t device_bytes;
bool open_now;

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

bool reserve_range() {
    for (size_t bytes = (size_t)1 << 40; range == NULL && bytes >= (size_t)1 << 32; bytes /= 2) {
        void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) continue;
        range = range_next = static_cast<char *>(at);
        range_end = range + bytes;
    }
    return range != NULL;
}

bool protects() { return setting("HOSTCUDA_PROTECT", 1) != 0; }

/* The allocation that begins at the address or is the nearest before it. */
const allocation *find(const std::map<const char *, allocation> &among, const void *address) {
    auto next = among.upper_bound(static_cast<const char *>(address));
    return next == among.begin() ? NULL : &std::prev(next)->second;
}

void check_around(const allocation &a) {
    for (const char *p = a.mapped; p < a.end; p++) {
        if (p == a.base) p = a.base + a.bytes;
        if (p < a.end && (unsigned char)*p != canary)
            fatal("byte %td of %zu bytes of %s memory at %p was written: it is %s the allocation", p - a.base, a.bytes,
                  a.kind == memory_kind::device ? "device" : "pinned", (void *)a.base,
                  p < a.base ? "before" : "past the end of");
    }
}

}  // namespace

size_t memory_used() { return device_bytes; }
size_t memory_limit() { return (size_t)setting("HOSTCUDA_MEMORY", (long long)2 << 30); }

cudaError_t memory_alloc(memory_kind kind, size_t bytes, void **memory) {
    *memory = NULL;
    if (bytes == 0) return cudaSuccess;
    if (kind == memory_kind::device && (bytes > memory_limit() || device_bytes + bytes > memory_limit()))
        return cudaErrorMemoryAllocation;
    size_t whole = round_up(round_up(bytes, 256), page);
    if ((range == NULL && !reserve_range()) || whole + page > (size_t)(range_end - range_next))
        return cudaErrorMemoryAllocation;
    allocation a = {kind, NULL, bytes, range_next, range_next + whole};
    a.base = a.end - round_up(bytes, 256);
    if (mprotect(a.mapped, whole, PROT_READ | PROT_WRITE) != 0) return cudaErrorMemoryAllocation;
    memset(a.mapped, canary, whole);
    memset(a.base, 0xff, bytes);
    range_next += whole + page;
    if (kind == memory_kind::device) {
        device_bytes += bytes;
        if (!open_now && protects()) mprotect(a.mapped, whole, PROT_NONE);
    }
    allocations[a.base] = a;
    *memory = a.base;
    return cudaSuccess;
}

cudaError_t memory_free(memory_kind kind, void *memory) {
    if (memory == NULL) return cudaSuccess;
    auto found = allocations.find(static_cast<char *>(memory));
    if (found == allocations.end() || found->second.kind != kind) return cudaErrorInvalidValue;
    allocation a = found->second;
    memory_open();
    check_around(a);
    size_t whole = (size_t)(a.end - a.mapped);
    mmap(a.mapped, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    allocations.erase(found);
    freed[a.base] = a;
    if (kind == memory_kind::device) device_bytes -= a.bytes;
    return cudaSuccess;
}

cudaError_t memory_register(void *memory, size_t bytes) {
    if (memory == NULL || bytes == 0) return cudaErrorInvalidValue;
    if (registered.count(static_cast<char *>(memory)) != 0) return cudaErrorHostMemoryAlreadyRegistered;
    registered[static_cast<char *>(memory)] = bytes;
    return cudaSuccess;
}

cudaError_t memory_unregister(void *memory) {
    return registered.erase(static_cast<char *>(memory)) == 1 ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
}

bool memory_is_ours(const void *address) {
    const char *p = static_cast<const char *>(address);
    return p >= range && p < range_next;
}

memory_kind memory_kind_of(const void *address) {
    if (memory_is_ours(address)) {
        const allocation *a = find(allocations, address);
        return a != NULL && address < a->end ? a->kind : memory_kind::device;
    }
    auto next = registered.upper_bound(static_cast<const char *>(address));
    if (next == registered.begin()) return memory_kind::pageable;
    const char *base = std::prev(next)->first;
    bool inside = static_cast<const char *>(address) < base + std::prev(next)->second;
    return inside ? memory_kind::pinned : memory_kind::pageable;
}

bool memory_holds(const void *address, size_t bytes) {
    if (!memory_is_ours(address)) return true;
    const allocation *a = find(allocations, address);
    if (a == NULL) return false;
    size_t offset = (size_t)(static_cast<const char *>(address) - a->base);
    return offset <= a->bytes && bytes <= a->bytes - offset;
}

static void set_access(int access) {
    for (auto &entry : allocations) {
        const allocation &a = entry.second;
        if (a.kind == memory_kind::device) mprotect(a.mapped, (size_t)(a.end - a.mapped), access);
    }
}

void memory_open() {
    if (open_now) return;
    open_now = true;
    if (protects()) set_access(PROT_READ | PROT_WRITE);
}

void memory_close() {
    if (!open_now) return;
    open_now = false;
    if (protects()) set_access(PROT_NONE);
}

void memory_check() {
    memory_open();
    for (auto &entry : allocations) check_around(entry.second);
}

void memory_describe(const void *address, char *text, size_t bytes) {
    const allocation *a = find(allocations, address), *old = find(freed, address);
    bool is_old = old != NULL && (a == NULL || old->base > a->base);
    if (is_old) a = old;
    if (a == NULL || !memory_is_ours(address))
        snprintf(text, bytes, "no allocation is near");
    else
        snprintf(text, bytes, "byte %td of %zu bytes of %s%s memory at %p",
                 static_cast<const char *>(address) - a->base, a->bytes, is_old ? "freed " : "",
                 a->kind == memory_kind::device ? "device" : "pinned host", (void *)a->base);
}

}  // namespace hostcuda
