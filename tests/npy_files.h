/* npy_files.h: NPY and ZIP files for the tests of their import, put together byte by byte, right or wrong as asked. */
#ifndef DPT_TESTS_NPY_FILES_H
#define DPT_TESTS_NPY_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "data_files.h"

typedef struct byte_list {
    unsigned char data[1 << 18];
    size_t count;
} byte_list;

static inline void put_bytes(byte_list *list, const void *data, size_t count) {
    CHECK(list->count + count <= sizeof list->data);
    memcpy(list->data + list->count, data, count);
    list->count += count;
}

/* The lowest `bytes` bytes of a number, least first. */
static inline void put_number(byte_list *list, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put_bytes(list, &(unsigned char){(unsigned char)(value >> 8 * i)}, 1);
}

static inline void file_write(const char *name, const void *data, size_t count) {
    FILE *f = fopen(file_path(name), "wb");
    CHECK(f != NULL && fwrite(data, 1, count, f) == count);
    if (f) fclose(f);
}

static inline size_t file_read(const char *name, byte_list *list) {
    FILE *f = fopen(file_path(name), "rb");
    list->count = f ? fread(list->data, 1, sizeof list->data, f) : 0;
    if (f) fclose(f);
    return list->count;
}

/* Magic, version, the length of the text and the text as it is. */
static inline void npy_head(byte_list *list, int version, const char *text) {
    list->count = 0;
    put_bytes(list, "\x93NUMPY", 6);
    put_number(list, (uint64_t)version, 2); /* 1: 1.0 */
    put_number(list, strlen(text), version == 1 ? 2 : 4);
    put_bytes(list, text, strlen(text));
}

/* One member of a ZIP archive and what its headers say of it. */
typedef struct zip_part {
    const char *name;
    const byte_list *content;
    int method;         /* 0: stored, 8: deflate; others: stored, under that number */
    int flags;          /* 1: encrypted */
    int64_t more_bytes; /* that the headers declare and that are not there */
    int64_t unpacks;    /* to so many more bytes than it declares packed ones; stored only */
    uint32_t wrong_crc; /* what the checksum is changed by */
} zip_part;

typedef struct zip_entry {
    byte_list packed;
    uint32_t crc;
    uint64_t offset;
} zip_entry;

static inline void zip_pack(const zip_part *part, zip_entry *entry) {
    const byte_list *in = part->content;
    entry->crc = (uint32_t)crc32(0, in->data, (unsigned)in->count) ^ part->wrong_crc;
    entry->packed.count = 0;
    if (part->method != 8) {
        put_bytes(&entry->packed, in->data, in->count);
        return;
    }
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in->data, .avail_in = (unsigned)in->count};
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_out = entry->packed.data;
    z.avail_out = sizeof entry->packed.data;
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    entry->packed.count = z.total_out;
    deflateEnd(&z);
}

static inline void zip_describe(byte_list *list, const zip_part *part, const zip_entry *entry) {
    put_number(list, 20, 2); /* version needed */
    put_number(list, (uint64_t)part->flags, 2);
    put_number(list, (uint64_t)part->method, 2);
    put_number(list, 0x00210000, 4); /* 1980-01-01 */
    put_number(list, entry->crc, 4);
    put_number(list, entry->packed.count + (part->method == 8 ? 0 : (uint64_t)part->more_bytes), 4);
    put_number(list, part->content->count + (uint64_t)(part->more_bytes + part->unpacks), 4);
    put_number(list, strlen(part->name), 2);
    put_number(list, 0, 2); /* extra field */
}

static inline void zip_write(const char *name, const zip_part *part, int count) {
    byte_list *list = calloc(1, sizeof *list);
    zip_entry *entry = calloc((size_t)count + 1, sizeof *entry);
    for (int i = 0; i < count; i++) {
        zip_pack(&part[i], &entry[i]);
        entry[i].offset = list->count;
        put_bytes(list, "PK\3\4", 4);
        zip_describe(list, &part[i], &entry[i]);
        put_bytes(list, part[i].name, strlen(part[i].name));
        put_bytes(list, entry[i].packed.data, entry[i].packed.count);
    }
    uint64_t directory = list->count;
    for (int i = 0; i < count; i++) {
        put_bytes(list, "PK\1\2", 4);
        put_number(list, 20, 2); /* version made by */
        zip_describe(list, &part[i], &entry[i]);
        put_number(list, 0, 6); /* comment, disk, attributes */
        put_number(list, 0, 4);
        put_number(list, entry[i].offset, 4);
        put_bytes(list, part[i].name, strlen(part[i].name));
    }
    uint64_t end = list->count;
    put_bytes(list, "PK\5\6\0\0\0\0", 8);
    put_number(list, (uint64_t)count, 2);
    put_number(list, (uint64_t)count, 2);
    put_number(list, end - directory, 4);
    put_number(list, directory, 4);
    put_number(list, 0, 2);
    file_write(name, list->data, list->count);
    free(list);
    free(entry);
}

#endif
