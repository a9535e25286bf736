/* layout_check.c: see layout_check.h. Goes through the messages of an object's header ("HDF5 File Format
 * Specification", IV.A) to that of its layout (IV.A.2.i); versions 1 and 2 of headers, 1 to 4 of layouts.
 *
 * Invariant: nothing is refused but a layout that was read whole and has a chunk of size 0, or of other axes than the
 * values: the sizes of those that lack are 0 too. */
#include "data/layout_check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum {
    MOST_BLOCK_BYTES = 1 << 20,
    MOST_BLOCKS = 64,
    SPACE_MESSAGE = 1,
    LAYOUT_MESSAGE = 8,
    CONTINUATION_MESSAGE = 16,
    ADDRESS_BYTES = 8
};

typedef struct header {
    int descriptor;
    uint64_t base; /* of the file's addresses: what the user put before it */
    int version;   /* of the header */
    bool ordered;  /* version 2: messages carry their order */
    int blocks;    /* looked at */
    int axes;      /* of the values; -1: not found */
    bool chunked;
    int chunk_axes;
    int zero_axis; /* -1: none */
    bool no_memory;
} header;

static uint64_t number(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* n sizes of so many bytes each; the last is that of an element. */
static void look_at_chunk(header *h, const unsigned char *at, const unsigned char *end, int n, int bytes) {
    h->chunked = true;
    h->chunk_axes = n - 1;
    for (int k = 0; k < n && end - at >= bytes; k++, at += bytes)
        if (number(at, bytes) == 0 && h->zero_axis < 0) h->zero_axis = k;
}

static void look_at_layout(header *h, const unsigned char *at, const unsigned char *end) {
    enum { CHUNKED = 2 };
    if (end - at < 8) return;
    switch (at[0]) {
        case 1:
        case 2:
            if (at[2] == CHUNKED) look_at_chunk(h, at + 8 + ADDRESS_BYTES, end, at[1], 4);
            break;
        case 3:
            if (at[1] == CHUNKED) look_at_chunk(h, at + 3 + ADDRESS_BYTES, end, at[2], 4);
            break;
        case 4:
            if (at[1] == CHUNKED && at[4] >= 1 && at[4] <= 8) look_at_chunk(h, at + 5, end, at[3], at[4]);
            break;
        default: break;
    }
}

static void look_at_block(header *h, uint64_t address, uint64_t bytes);

static void look_at_messages(header *h, const unsigned char *at, const unsigned char *end) {
    const int head = h->version == 1 ? 8 : h->ordered ? 6 : 4;
    while (end - at >= head) {
        const int type = h->version == 1 ? (int)number(at, 2) : at[0];
        const int64_t size = (int64_t)(h->version == 1 ? number(at + 2, 2) : number(at + 1, 2));
        at += head;
        if (size > end - at) return;
        if (type == SPACE_MESSAGE && size >= 2) h->axes = at[1];
        if (type == LAYOUT_MESSAGE) look_at_layout(h, at, at + size);
        if (type == CONTINUATION_MESSAGE && size >= 2 * ADDRESS_BYTES)
            look_at_block(h, number(at, ADDRESS_BYTES), number(at + ADDRESS_BYTES, ADDRESS_BYTES));
        at += size;
    }
}

/* The bytes that are there: fewer at the end of the file. -1: none. */
static ssize_t read_at(const header *h, uint64_t address, void *out, size_t bytes) {
    uint64_t at;
    if (__builtin_add_overflow(h->base, address, &at) || at > INT64_MAX) return -1;
    return pread(h->descriptor, out, bytes, (off_t)at);
}

/* One that goes on behind the first: in version 2 between a signature and a checksum. */
static void look_at_block(header *h, uint64_t address, uint64_t bytes) {
    if (bytes > MOST_BLOCK_BYTES || ++h->blocks > MOST_BLOCKS) return;
    unsigned char *block = dpt_alloc(bytes);
    if (block == NULL) h->no_memory = true;
    if (block && read_at(h, address, block, bytes) == (ssize_t)bytes) {
        const uint64_t skip = h->version == 2 ? 4 : 0;
        if (bytes >= 2 * skip) look_at_messages(h, block + skip, block + bytes - skip);
    }
    dpt_free(block);
}

static void look_at_first(header *h, uint64_t address) {
    enum { LONGEST = 64 };
    unsigned char b[LONGEST] = {0};
    if (read_at(h, address, b, sizeof b) < 16) return;
    h->version = b[0] == 1 ? 1 : 2;
    h->blocks = 0;
    uint64_t at = 16, bytes = number(b + 8, 4);
    if (h->version == 2) {
        if (memcmp(b, "OHDR\2", 5) != 0) return;
        const int flags = b[5], width = 1 << (flags & 3);
        at = 6 + (flags & 0x20 ? 16u : 0) + (flags & 0x10 ? 4u : 0);
        bytes = number(b + at, width);
        at += (uint64_t)width;
        h->ordered = flags & 4;
        /* as a block that goes on: what stands before and behind its messages is 4 bytes here too */
        if (bytes > MOST_BLOCK_BYTES) return;
        at -= 4;
        bytes += 8;
    }
    look_at_block(h, address + at, bytes);
}

/* Where files count from, if their addresses have 8 bytes. */
static bool find_base(hid_t from, uint64_t *base) {
    hid_t file = H5Iget_file_id(from), created = file < 0 ? -1 : H5Fget_create_plist(file);
    size_t address = 0, length = 0;
    hsize_t before = 0;
    bool known = created >= 0 && H5Pget_sizes(created, &address, &length) >= 0 &&
                 H5Pget_userblock(created, &before) >= 0 && address == ADDRESS_BYTES && length == ADDRESS_BYTES;
    *base = before;
    dpt_h5_close_properties(created);
    dpt_h5_close_file(file);
    return known;
}

dpt_status dpt_layout_check(hid_t from, const char *object) {
    header h = {.axes = -1, .zero_axis = -1};
    char path[4096];
    H5O_info_t about;
    const ssize_t length = H5Fget_name(from, path, sizeof path);
    if (length < 0 || length >= (ssize_t)sizeof path || !find_base(from, &h.base)) return DPT_OK;
    if (H5Oget_info_by_name2(from, object, &about, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return DPT_OK;
    h.descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (h.descriptor < 0) return DPT_OK;
    look_at_first(&h, about.addr);
    close(h.descriptor);
    if (h.no_memory) return DPT_ERR_MEMORY;
    DPT_CHECK(h.axes < 0 || !h.chunked || h.axes == h.chunk_axes, DPT_ERR_DATA,
              "its chunks have %d axes, its values %d", h.chunk_axes > 0 ? h.chunk_axes : 0, h.axes);
    DPT_CHECK(h.zero_axis < 0, DPT_ERR_DATA, "axis %d of its chunks has size 0", h.zero_axis);
    return DPT_OK;
}
