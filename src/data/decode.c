/* decode.c: see decode.h. Filters are undone from the last to the first. Fletcher32 is checked in place, deflate and
 * shuffle move the chunk: the last of them that is undone writes into out, the others into the decoder's own room.
 *
 * Invariant: before anything is written, its size is known from what is really there or from what the chunk declares,
 * never from a number inside the stream. A little-endian machine is assumed, as everywhere in this folder. */
#include "data/decode.h"

#include <libdeflate.h>
#include <stdbool.h>
#include <string.h>

#include "backend/parallel.h"
#include "base/memory.h"

enum { ROOMS = 2, CHECKSUM_BYTES = 4 };
static const uint64_t MAX_CHUNK_BYTES = (uint64_t)1 << 40; /* sums of sizes below stay far from overflow */

struct dpt_decoder {
    struct libdeflate_decompressor *inflate;
    uint8_t *room[ROOMS]; /* used in turn */
    uint64_t room_bytes[ROOMS];
};

/* A chunk on its way: where it is now, and which room comes next. */
typedef struct passage {
    dpt_decoder *decoder;
    const uint8_t *at;
    uint64_t bytes;
    int next;
} passage;

/* What stood before a filter was applied: `most` bytes, exactly so many where no filter before it deflates. */
typedef struct extent {
    uint64_t most;
    bool exact;
} extent;

dpt_status dpt_decoder_create(dpt_decoder **decoder) {
    *decoder = dpt_alloc_zero(1, sizeof **decoder);
    DPT_CHECK_ALLOC(*decoder);
    (*decoder)->inflate = libdeflate_alloc_decompressor();
    if ((*decoder)->inflate != NULL) return DPT_OK;
    dpt_decoder_destroy(decoder);
    return dpt_error(DPT_ERR_MEMORY, "out of memory: libdeflate's decompressor");
}

void dpt_decoder_destroy(dpt_decoder **decoder) {
    dpt_decoder *d = *decoder;
    *decoder = NULL;
    if (d == NULL) return;
    libdeflate_free_decompressor(d->inflate);
    for (int i = 0; i < ROOMS; i++) dpt_free(d->room[i]);
    dpt_free(d);
}

static dpt_status take_room(passage *p, uint64_t bytes, uint8_t **room) {
    dpt_decoder *d = p->decoder;
    int i = p->next;
    p->next = (i + 1) % ROOMS;
    if (d->room[i] == NULL || d->room_bytes[i] < bytes) {
        dpt_free(d->room[i]);
        d->room_bytes[i] = 0;
        d->room[i] = dpt_alloc(bytes);
        DPT_CHECK_ALLOC(d->room[i]);
        d->room_bytes[i] = bytes;
    }
    *room = d->room[i];
    return DPT_OK;
}

/* ---- fletcher32 ---- */

/* Over 16-bit words w[0], ..., w[n-1] (an odd byte at the end is the first half of one more), modulo 65535:
 *   sum1 = w[0] + ... + w[n-1],   sum2 = n w[0] + (n-1) w[1] + ... + 1 w[n-1]
 * where 65535 stands for 0 unless all words are 0. HDF5 takes words as big-endian; little-endian ones give the same
 * sums with their two bytes swapped, since swapping is multiplying by 256 modulo 65535. */
enum { LANES = 16, BLOCK_STEPS = 360, BLOCK_WORDS = LANES * BLOCK_STEPS };

static uint64_t fold(uint64_t sum) { return sum ? (sum - 1) % 65535 + 1 : 0; }

static uint32_t word_at(const uint8_t *in) {
    uint16_t word;
    memcpy(&word, in, sizeof word);
    return word;
}

/* The sums over lanes 0, LANES, 2 LANES, ...; 1, LANES + 1, ... of at most BLOCK_STEPS words each: within 32 bits. */
DPT_MULTIVERSION static void sum_lanes(const uint8_t *in, int64_t steps, uint32_t *sum1, uint32_t *sum2) {
    uint32_t first[LANES] = {0}, second[LANES] = {0};
    for (int64_t s = 0; s < steps; s++, in += 2 * LANES) _Pragma("omp simd") for (int l = 0; l < LANES; l++) {
            first[l] += word_at(in + 2 * l);
            second[l] += first[l];
        }
    memcpy(sum1, first, sizeof first);
    memcpy(sum2, second, sizeof second);
}

/* sum2 * 2^16 + sum1, of little-endian words. */
static uint32_t fletcher32(const uint8_t *in, uint64_t bytes) {
    uint64_t words = bytes / 2, sum1 = 0, sum2 = 0;
    while (words >= LANES) {
        uint64_t n = words < BLOCK_WORDS ? words / LANES * LANES : BLOCK_WORDS;
        uint32_t first[LANES], second[LANES];
        sum_lanes(in, (int64_t)(n / LANES), first, second);
        sum2 += n * sum1;
        for (uint64_t l = 0; l < LANES; l++) {
            sum1 += first[l];
            sum2 += LANES * (uint64_t)second[l] - l * first[l];
        }
        sum1 = fold(sum1);
        sum2 = fold(sum2);
        in += 2 * n;
        words -= n;
    }
    for (; words > 0; words--, in += 2) sum2 += sum1 += word_at(in);
    if (bytes % 2) sum2 += sum1 += *in;
    return (uint32_t)(fold(sum2) << 16 | fold(sum1));
}

static uint32_t swap_halves(uint32_t sums) { return (sums & 0x00ff00ff) << 8 | (sums >> 8 & 0x00ff00ff); }

/* Files of HDF5 before 1.6.3 hold the sums of little-endian words; HDF5 reads both, and so it is here. */
static dpt_status undo_fletcher32(passage *p) {
    DPT_CHECK(p->bytes >= CHECKSUM_BYTES, DPT_ERR_DATA, "fletcher32: %llu bytes, a checksum alone has %d",
              (unsigned long long)p->bytes, CHECKSUM_BYTES);
    p->bytes -= CHECKSUM_BYTES;
    uint32_t stored, old = fletcher32(p->at, p->bytes), computed = swap_halves(old);
    memcpy(&stored, p->at + p->bytes, sizeof stored);
    DPT_CHECK(
        stored == computed || stored == old, DPT_ERR_DATA,
        "fletcher32: the checksum is 0x%08x, the one stored 0x%08x: the bytes have changed since they were written",
        computed, stored);
    return DPT_OK;
}

/* ---- shuffle ---- */

/* Byte k of element j stands at k * count + j; bytes past the last whole element stay where they are. */
#define UNSHUFFLE(name, SIZE)                                                                                 \
    DPT_MULTIVERSION static void name(const uint8_t *restrict in, int64_t count, uint8_t *restrict out) {     \
        _Pragma("omp simd") for (int64_t j = 0; j < count; j++) {                                             \
            _Pragma("GCC unroll 8") for (int k = 0; k < (SIZE); k++) out[j * (SIZE) + k] = in[k * count + j]; \
        }                                                                                                     \
    }
UNSHUFFLE(unshuffle_2, 2)
UNSHUFFLE(unshuffle_4, 4)
UNSHUFFLE(unshuffle_8, 8)

static void unshuffle(const uint8_t *in, uint64_t bytes, uint64_t size, uint8_t *out) {
    uint64_t count = bytes / size, whole = count * size;
    switch (size) {
        case 2: unshuffle_2(in, (int64_t)count, out); break;
        case 4: unshuffle_4(in, (int64_t)count, out); break;
        case 8: unshuffle_8(in, (int64_t)count, out); break;
        default:
            for (uint64_t k = 0; k < size; k++)
                for (uint64_t j = 0; j < count; j++) out[j * size + k] = in[k * count + j];
    }
    memcpy(out + whole, in + whole, bytes - whole);
}

/* to: room for out_bytes where this is the last filter undone, else NULL. */
static dpt_status undo_shuffle(passage *p, uint64_t element_bytes, extent before, uint8_t *to) {
    DPT_CHECK(element_bytes > 0, DPT_ERR_DATA, "shuffle: of elements of 0 bytes");
    DPT_CHECK(!before.exact || p->bytes == before.most, DPT_ERR_DATA, "shuffle: %llu bytes, not %llu",
              (unsigned long long)p->bytes, (unsigned long long)before.most);
    if (element_bytes == 1 || p->bytes / element_bytes <= 1) return DPT_OK; /* they stand as they were */
    if (to == NULL) DPT_TRY(take_room(p, p->bytes, &to));
    unshuffle(p->at, p->bytes, element_bytes, to);
    p->at = to;
    return DPT_OK;
}

/* ---- deflate ---- */

static dpt_status undo_deflate(passage *p, extent before, uint8_t *to) {
    if (to == NULL) DPT_TRY(take_room(p, before.most, &to));
    size_t made = 0;
    enum libdeflate_result result =
        libdeflate_zlib_decompress(p->decoder->inflate, p->at, p->bytes, to, before.most, &made);
    DPT_CHECK(result != LIBDEFLATE_INSUFFICIENT_SPACE, DPT_ERR_DATA, "deflate: the stream holds more than %llu bytes",
              (unsigned long long)before.most);
    DPT_CHECK(result == LIBDEFLATE_SUCCESS, DPT_ERR_DATA, "deflate: the stream of %llu bytes is damaged or ends early",
              (unsigned long long)p->bytes);
    DPT_CHECK(!before.exact || made == before.most, DPT_ERR_DATA, "deflate: the stream holds %llu bytes, not %llu",
              (unsigned long long)made, (unsigned long long)before.most);
    p->at = to;
    p->bytes = made;
    return DPT_OK;
}

/* ---- the pipeline ---- */

/* before[i]: ahead of filter i. A deflated stream is never much longer than what went in: zlib promises 0.1 %, stored
 * blocks cost 5 bytes each. */
static void plan_extents(const dpt_pipeline *pipeline, uint32_t mask, uint64_t out_bytes, extent *before) {
    extent now = {out_bytes, true};
    for (int i = 0; i < pipeline->count; i++) {
        before[i] = now;
        if (mask >> i & 1) continue;
        if (pipeline->filter[i] == DPT_FILTER_FLETCHER32) now.most += CHECKSUM_BYTES;
        if (pipeline->filter[i] == DPT_FILTER_DEFLATE) now = (extent){now.most + now.most / 16 + 1024, false};
    }
}

static dpt_status undo(passage *p, const dpt_pipeline *pipeline, int i, extent before, uint8_t *to) {
    switch (pipeline->filter[i]) {
        case DPT_FILTER_DEFLATE: return undo_deflate(p, before, to);
        case DPT_FILTER_SHUFFLE: return undo_shuffle(p, pipeline->element_bytes, before, to);
        case DPT_FILTER_FLETCHER32: return undo_fletcher32(p);
        default: return dpt_error(DPT_ERR_UNSUPPORTED, "filter %d is not supported", pipeline->filter[i]);
    }
}

dpt_status dpt_decode(dpt_decoder *decoder, const dpt_pipeline *pipeline, uint32_t mask, void *in, uint64_t in_bytes,
                      void *out, uint64_t out_bytes) {
    extent before[DPT_MAX_FILTERS];
    DPT_CHECK(pipeline->count >= 0 && pipeline->count <= DPT_MAX_FILTERS, DPT_ERR_UNSUPPORTED,
              "%d filters; at most %d are supported", pipeline->count, DPT_MAX_FILTERS);
    DPT_CHECK(in_bytes <= MAX_CHUNK_BYTES && out_bytes <= MAX_CHUNK_BYTES, DPT_ERR_UNSUPPORTED,
              "a chunk of %llu bytes, %llu in the file", (unsigned long long)out_bytes, (unsigned long long)in_bytes);
    plan_extents(pipeline, mask, out_bytes, before);
    passage p = {.decoder = decoder, .at = in, .bytes = in_bytes};
    int last = 0;
    while (last < pipeline->count && (mask >> last & 1)) last++;
    for (int i = pipeline->count - 1; i >= last; i--)
        if (!(mask >> i & 1)) DPT_TRY(undo(&p, pipeline, i, before[i], i == last ? out : NULL));
    DPT_CHECK(p.bytes == out_bytes, DPT_ERR_DATA, "%llu bytes, not the chunk's %llu", (unsigned long long)p.bytes,
              (unsigned long long)out_bytes);
    if (p.at != out) memcpy(out, p.at, out_bytes);
    return DPT_OK;
}
