/* reader.c: contiguous rows are one pread, compact ones a copy from the index. A chunk that holds whole rows without
 * filters is read like contiguous rows; others are read whole, decoded (straight into the caller's memory where all of
 * their rows are wanted) and copied from the cache.
 *
 * Invariant: offsets and sizes are those of the index, which were checked there; what the file holds now may be
 * anything. */
#include "data/reader.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/block_advice.h"
#include "data/chunk_cache.h"
#include "data/dataset_private.h"
#include "data/decode.h"

enum { FAILURES = 4, INTERRUPTIONS = 1000, BLOCK_BYTES = 1 << 20 /* of order lanes, without chunks */ };
static const double LOOK_EVERY_S = 1;

typedef struct shared_cache {
    dpt_chunk_cache *chunks;
    atomic_int readers;
} shared_cache;

struct dpt_reader {
    const dpt_dataset *dataset;
    const dpt_index *index;
    shared_cache *cache;
    dpt_rows_maker *maker; /* of fields whose rows no file holds as such */
    dpt_decoder *decoder;
    unsigned char *stored; /* a chunk as it is in the file */
    uint64_t stored_room;
    double *looked_s; /* [file]: when it was last seen unchanged */
    dpt_reader_work done;
    dpt_block_advice *advice; /* NULL: rows come in no blocks */
    uint64_t epoch;
    int longest; /* field */
};

/* Rows of one field in one file. */
typedef struct source {
    dpt_reader *reader;
    const dpt_index_part *part;
    const dpt_index_field *field;
    int file, field_number, part_number;
} source;

static void leave_cache(shared_cache *cache) {
    if (cache == NULL || atomic_fetch_sub(&cache->readers, 1) > 1) return;
    dpt_chunk_cache_destroy(&cache->chunks);
    dpt_free(cache);
}

/* Takes its part in the cache, also on failure. */
static dpt_status create_on(const dpt_dataset *dataset, shared_cache *cache, uint64_t cache_bytes,
                            const dpt_reader *first, dpt_reader **reader) {
    dpt_reader *r = *reader = dpt_alloc_zero(1, sizeof *r);
    if (r == NULL) {
        leave_cache(cache);
        return DPT_ERR_MEMORY;
    }
    r->dataset = dataset;
    r->index = dpt_dataset_index(dataset);
    r->cache = cache;
    r->looked_s = dpt_alloc_zero((size_t)r->index->files, sizeof *r->looked_s);
    dpt_status status = r->looked_s ? dpt_decoder_create(&r->decoder) : DPT_ERR_MEMORY;
    if (status == DPT_OK) status = dpt_rows_maker_create(dataset, cache_bytes, first ? first->maker : NULL, &r->maker);
    if (status != DPT_OK) dpt_reader_destroy(reader);
    return status;
}

dpt_status dpt_reader_create(const dpt_dataset *dataset, uint64_t cache_bytes, dpt_reader **reader) {
    *reader = NULL;
    shared_cache *cache = dpt_alloc_zero(1, sizeof *cache);
    DPT_CHECK_ALLOC(cache);
    atomic_init(&cache->readers, 1);
    uint64_t apart = dpt_rows_maker_bytes(dataset, cache_bytes);
    dpt_status status = dpt_chunk_cache_create(cache_bytes - apart, dpt_dataset_field_count(dataset), &cache->chunks);
    if (status == DPT_OK) return create_on(dataset, cache, cache_bytes, NULL, reader);
    dpt_free(cache);
    return status;
}

void dpt_reader_keep(dpt_reader *reader, dpt_node_cache *kept) { dpt_chunk_cache_keep(reader->cache->chunks, kept); }

dpt_status dpt_reader_in_blocks(dpt_reader *r, uint64_t epoch) {
    r->epoch = epoch;
    if (r->advice) return DPT_OK;
    r->advice = dpt_alloc_zero(1, sizeof *r->advice);
    DPT_CHECK_ALLOC(r->advice);
    for (int i = 1; i < r->index->fields; i++)
        if (r->index->field[i].row_bytes > r->index->field[r->longest].row_bytes) r->longest = i;
    return DPT_OK;
}

dpt_status dpt_reader_share(const dpt_reader *first, dpt_reader **reader) {
    atomic_fetch_add(&first->cache->readers, 1);
    return create_on(first->dataset, first->cache, 0, first, reader);
}

void dpt_reader_destroy(dpt_reader **reader) {
    dpt_reader *r = *reader;
    *reader = NULL;
    if (r == NULL) return;
    leave_cache(r->cache);
    dpt_rows_maker_destroy(&r->maker);
    dpt_decoder_destroy(&r->decoder);
    dpt_free(r->stored);
    dpt_free(r->looked_s);
    dpt_free(r->advice);
    dpt_free(r);
}

dpt_reader_work dpt_reader_done(const dpt_reader *reader) {
    dpt_reader_work done = reader->done;
    dpt_rows_maker_done(reader->maker, &done);
    return done;
}

uint64_t dpt_reader_chunks(const dpt_reader *reader) { return dpt_reader_done(reader).chunks; }

static dpt_status check_unchanged(const dpt_reader *reader, int f) {
    const dpt_index_file *file = &reader->index->file[f];
    struct stat now;
    DPT_CHECK(fstat(dpt_dataset_descriptor(reader->dataset, f), &now) == 0, DPT_ERR_IO, "%s", strerror(errno));
    DPT_CHECK((uint64_t)now.st_size == file->bytes, DPT_ERR_DATA,
              "the file was changed between index and read: %llu bytes then, %lld bytes now",
              (unsigned long long)file->bytes, (long long)now.st_size);
    DPT_CHECK(dpt_index_mtime_ns(&now) == file->mtime_ns, DPT_ERR_DATA,
              "the file was changed between index and read: it has been written to since");
    return DPT_OK;
}

/* What a disk, a network or a server may get over. Not ESTALE: the file that this descriptor stands for is gone from
 * its server, and no other try through it can succeed. */
static bool may_pass(int error) {
    switch (error) {
        case EIO:
        case EAGAIN:
        case ETIMEDOUT:
        case ENOMEM:
        case ENOBUFS:
        case EREMOTEIO:
        case ECONNRESET:
        case ENETDOWN:
        case ENETUNREACH:
        case EHOSTDOWN:
        case EHOSTUNREACH: return true;
        default: return false;
    }
}

/* Whether an error that came `tries` times is worth another; then it has waited for it. */
static bool try_again(int error, int tries) {
    if (error == EINTR) return tries < INTERRUPTIONS;
    if (!may_pass(error) || tries >= FAILURES) return false;
    nanosleep(&(struct timespec){.tv_nsec = 10000000L << tries}, NULL);
    return true;
}

static dpt_status read_bytes(dpt_reader *r, int descriptor, uint64_t offset, uint64_t bytes, unsigned char *out) {
    double failed_s = 0; /* when the first of these tries had failed */
    for (int tries = 0; bytes > 0;) {
        ssize_t n = pread(descriptor, out, bytes < SSIZE_MAX ? bytes : SSIZE_MAX, (off_t)offset);
        if (n < 0) {
            int error = errno;
            if (tries++ == 0) failed_s = dpt_clock_s();
            r->done.retries += error != EINTR;
            if (try_again(error, tries)) continue;
            return dpt_error(DPT_ERR_IO, "%llu bytes from byte %llu: %s (tries: %d, %.2f s after the first had failed)",
                             (unsigned long long)bytes, (unsigned long long)offset, strerror(error), tries,
                             dpt_clock_s() - failed_s);
        }
        DPT_CHECK(n > 0, DPT_ERR_IO, "the file ends at byte %llu, %llu bytes early", (unsigned long long)offset,
                  (unsigned long long)bytes);
        tries = 0;
        r->done.bytes += (uint64_t)n;
        out += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return DPT_OK;
}

static dpt_status read_here(const source *s, uint64_t offset, uint64_t bytes, unsigned char *out) {
    return read_bytes(s->reader, dpt_dataset_descriptor(s->reader->dataset, s->file), offset, bytes, out);
}

/* Rows of which `row` is one are read from in any order: they begin at byte `offset`, `total` of them. */
static void advise_block(const source *s, uint64_t offset, uint64_t row, uint64_t total) {
    const uint64_t row_bytes = s->field->row_bytes, rows = (BLOCK_BYTES + row_bytes - 1) / row_bytes;
    if (s->reader->advice == NULL || s->field_number != s->reader->longest || rows == 1) return;
    const uint64_t first = row / rows * rows, count = rows < total - first ? rows : total - first;
    dpt_block_advise(s->reader->advice, s->reader->epoch, dpt_dataset_descriptor(s->reader->dataset, s->file),
                     offset + first * row_bytes, count * row_bytes);
}

static dpt_status name_chunk(const source *s, uint64_t i, dpt_status status) {
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    return dpt_error_prefix(status, "chunk %llu of %llu (at byte %llu): ", (unsigned long long)i,
                            (unsigned long long)s->part->chunks, (unsigned long long)s->part->chunk[i].offset);
}

/* No filter was applied: the values stand in the file as they are. */
static bool is_plain(const dpt_index_part *part, uint64_t i) {
    uint32_t all = (1u << part->pipeline.count) - 1;
    return (part->chunk[i].mask & all) == all;
}

/* Chunk i to chunk_bytes at out. */
static dpt_status decode_chunk(const source *s, uint64_t i, unsigned char *out) {
    dpt_reader *r = s->reader;
    const dpt_index_chunk *chunk = &s->part->chunk[i];
    r->done.chunks++;
    if (is_plain(s->part, i)) return read_here(s, chunk->offset, chunk->bytes, out);
    if (chunk->bytes > r->stored_room) {
        dpt_free(r->stored);
        r->stored = dpt_alloc_aligned(chunk->bytes, 64);
        r->stored_room = r->stored ? chunk->bytes : 0;
        DPT_CHECK_ALLOC(r->stored);
    }
    DPT_TRY(read_here(s, chunk->offset, chunk->bytes, r->stored));
    return dpt_decode(r->decoder, &s->part->pipeline, chunk->mask, r->stored, chunk->bytes, out, s->part->chunk_bytes);
}

/* Chunk i, decoded; to be given back. */
static dpt_status take_chunk(const source *s, uint64_t i, dpt_cached_chunk **chunk) {
    dpt_chunk_cache *cache = s->reader->cache->chunks;
    dpt_chunk_key key = {.field = s->field_number, .part = s->part_number, .chunk = i};
    DPT_TRY(dpt_chunk_cache_take(cache, key, s->part->chunk_bytes, chunk));
    if ((*chunk)->ready) return DPT_OK;
    dpt_status status = decode_chunk(s, i, (*chunk)->data);
    dpt_chunk_cache_filled(cache, *chunk, status == DPT_OK);
    if (status != DPT_OK) dpt_chunk_cache_give(cache, *chunk);
    return name_chunk(s, i, status);
}

/* Rows [first, first + count) of chunk i, which holds whole rows. */
static dpt_status read_whole_rows(const source *s, uint64_t i, uint64_t first, uint64_t count, unsigned char *out) {
    dpt_chunk_cache *cache = s->reader->cache->chunks;
    uint64_t row_bytes = s->field->row_bytes;
    if (is_plain(s->part, i)) {
        if (count < s->part->chunk_dim[0]) advise_block(s, s->part->chunk[i].offset, first, s->part->chunk_dim[0]);
        return name_chunk(s, i, read_here(s, s->part->chunk[i].offset + first * row_bytes, count * row_bytes, out));
    }
    const dpt_chunk_key key = {.field = s->field_number, .part = s->part_number, .chunk = i};
    dpt_cached_chunk *chunk = dpt_chunk_cache_find(cache, key);
    if (chunk == NULL && count == s->part->chunk_dim[0] && !dpt_chunk_cache_keeps(cache, key))
        return name_chunk(s, i, decode_chunk(s, i, out));
    if (chunk == NULL) DPT_TRY(take_chunk(s, i, &chunk));
    memcpy(out, chunk->data + first * row_bytes, count * row_bytes);
    dpt_chunk_cache_give(cache, chunk);
    return DPT_OK;
}

/* A block of elements from one array to another of other strides (bytes, an axis), the last axis without gaps. */
typedef struct block {
    int axes;
    uint64_t size[DPT_MAX_NDIM + 1]; /* of the last axis: bytes */
    uint64_t from[DPT_MAX_NDIM + 1], to[DPT_MAX_NDIM + 1];
} block;

static void copy_block(const block *b, int axis, const unsigned char *from, unsigned char *to) {
    if (axis == b->axes - 1) {
        memcpy(to, from, b->size[axis]);
        return;
    }
    for (uint64_t i = 0; i < b->size[axis]; i++)
        copy_block(b, axis + 1, from + i * b->from[axis], to + i * b->to[axis]);
}

/* The part of rows [first, first + count) of a band of chunks that lies in one of them, `at` on the grid. */
static void copy_part(const source *s, const uint64_t *at, uint64_t first, uint64_t count, const unsigned char *from,
                      unsigned char *to) {
    const dpt_index_part *part = s->part;
    const dpt_field *about = &s->field->about;
    uint64_t from_stride = about->stored.bytes, to_stride = from_stride;
    block b = {.axes = about->ndim + 1, .size = {count}};
    for (int k = about->ndim; k >= 1; k--) {
        uint64_t start = at[k] * part->chunk_dim[k], left = (uint64_t)about->dim[k - 1] - start;
        b.size[k] = part->chunk_dim[k] < left ? part->chunk_dim[k] : left;
        b.from[k] = from_stride;
        b.to[k] = to_stride;
        to += start * to_stride;
        from_stride *= part->chunk_dim[k];
        to_stride *= (uint64_t)about->dim[k - 1];
    }
    b.from[0] = from_stride;
    b.to[0] = to_stride;
    b.size[about->ndim] *= about->stored.bytes;
    copy_block(&b, 0, from + first * from_stride, to);
}

/* Rows [first, first + count) of a band, from every chunk of it. */
static dpt_status read_across(const source *s, uint64_t band, uint64_t first, uint64_t count, unsigned char *out) {
    uint64_t in_band = s->part->chunks / s->part->grid[0], at[DPT_MAX_NDIM + 1] = {0};
    for (uint64_t j = 0; j < in_band; j++) {
        dpt_cached_chunk *chunk;
        DPT_TRY(take_chunk(s, band * in_band + j, &chunk));
        copy_part(s, at, first, count, chunk->data, out);
        dpt_chunk_cache_give(s->reader->cache->chunks, chunk);
        for (int k = s->field->about.ndim; k >= 1 && ++at[k] == s->part->grid[k]; k--) at[k] = 0;
    }
    return DPT_OK;
}

static dpt_status read_chunked(const source *s, uint64_t row, uint64_t count, unsigned char *out) {
    const dpt_field *about = &s->field->about;
    uint64_t rows = s->part->chunk_dim[0];
    bool whole = true;
    for (int k = 0; k < about->ndim; k++) whole &= s->part->chunk_dim[k + 1] == (uint64_t)about->dim[k];
    while (count > 0) {
        uint64_t band = row / rows, first = row % rows, n = count < rows - first ? count : rows - first;
        DPT_TRY((whole ? read_whole_rows : read_across)(s, band, first, n, out));
        out += n * s->field->row_bytes;
        row += n;
        count -= n;
    }
    return DPT_OK;
}

static dpt_status read_stored(const source *s, uint64_t row, uint64_t count, unsigned char *out) {
    uint64_t row_bytes = s->field->row_bytes;
    switch (s->part->storage) {
        case DPT_STORAGE_CONTIGUOUS:
            advise_block(s, s->part->offset, row, s->reader->index->file[s->file].rows);
            return read_here(s, s->part->offset + row * row_bytes, count * row_bytes, out);
        case DPT_STORAGE_COMPACT: memcpy(out, s->part->values + row * row_bytes, count * row_bytes); break;
        case DPT_STORAGE_CHUNKED: return read_chunked(s, row, count, out);
        case DPT_STORAGE_ELSEWHERE: break; /* dpt_reader_rows has turned elsewhere */
    }
    return DPT_OK;
}

/* To some milliseconds, for a tenth of the price of dpt_clock_s: it is asked for every row. */
static double coarse_clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Rows of one file. A file that was changed is the reason of whatever failed; where nothing fails it is looked at now
 * and then. */
static dpt_status read_part(const source *s, uint64_t row, uint64_t count, unsigned char *out) {
    dpt_reader *r = s->reader;
    double now = coarse_clock_s();
    dpt_status status = DPT_OK;
    if (r->looked_s[s->file] == 0 || now - r->looked_s[s->file] > LOOK_EVERY_S) {
        status = check_unchanged(r, s->file);
        if (status == DPT_OK) r->looked_s[s->file] = now;
    }
    if (status == DPT_OK) {
        status = read_stored(s, row, count, out);
        dpt_status change = status == DPT_ERR_IO || status == DPT_ERR_DATA ? check_unchanged(r, s->file) : DPT_OK;
        if (change != DPT_OK) status = change;
    }
    if (status == DPT_OK || status == DPT_ERR_MEMORY) return status;
    return dpt_error_prefix(status, "%s: %s: rows %llu to %llu: ", r->index->file[s->file].path, s->field->path,
                            (unsigned long long)row, (unsigned long long)(row + count - 1));
}

dpt_status dpt_reader_rows(dpt_reader *reader, int field, uint64_t row, uint64_t count, void *out) {
    const dpt_index *index = reader->index;
    DPT_CHECK(row <= index->rows && count <= index->rows - row, DPT_ERR_ARG, "rows %llu to %llu of a dataset of %llu",
              (unsigned long long)row, (unsigned long long)(row + count), (unsigned long long)index->rows);
    unsigned char *to = out;
    if (index->part[field].storage == DPT_STORAGE_ELSEWHERE)
        return count > 0 ? dpt_rows_make(reader->dataset, reader->maker, field, row, count, out) : DPT_OK;
    while (count > 0) {
        int f = dpt_index_file_of(index, row), p = f * index->fields + field;
        uint64_t in_file = row - index->file[f].first_row, left = index->file[f].rows - in_file;
        uint64_t n = count < left ? count : left;
        source s = {.reader = reader,
                    .part = &index->part[p],
                    .field = &index->field[field],
                    .file = f,
                    .field_number = field,
                    .part_number = p};
        DPT_TRY(read_part(&s, in_file, n, to));
        to += n * index->field[field].row_bytes;
        row += n;
        count -= n;
    }
    return DPT_OK;
}

dpt_status dpt_dataset_read(const dpt_dataset *dataset, int field, uint64_t row, uint64_t count, void *out) {
    dpt_reader *reader;
    DPT_TRY(dpt_reader_create(dataset, 0, &reader));
    dpt_status status = dpt_reader_rows(reader, field, row, count, out);
    dpt_reader_destroy(&reader);
    return status;
}
