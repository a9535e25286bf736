/* selection.c: see selection.h. Sample i is bit i mod 64 of word i / 64; blocks of 512 samples are 8 words, one line of
 * a cache. A row is found by its hint (the block of the first of its 4096 rows), a binary search over the counts of the
 * blocks from there to the next hint, and the bits of one block.
 *
 * Invariant: bits past the last sample are 0, up to the end of its block. */
#include "data/selection.h"

#include <string.h>

#include "backend/parallel.h"
#include "base/hash.h"
#include "base/memory.h"

#define ALWAYS_INLINE inline __attribute__((always_inline)) /* into what is compiled for each vector width */

enum { BLOCK = 512, WORDS = BLOCK / 64, HINT_SHIFT = 12 };

struct dpt_selection {
    uint64_t samples, rows, blocks, digest;
    uint64_t *word;   /* [blocks * WORDS] */
    uint64_t *before; /* [blocks + 1], rows before each block; with the hints in one piece; NULL: never sealed */
    uint64_t *hint;   /* [ceil(rows / 4096)] */
};

dpt_status dpt_selection_create(uint64_t samples, bool all, dpt_selection **selection) {
    *selection = NULL;
    DPT_CHECK(samples <= DPT_SELECTION_MOST, DPT_ERR_UNSUPPORTED,
              "%llu samples: up to %llu can be split or chosen from by number; a split by file has no limit",
              (unsigned long long)samples, (unsigned long long)DPT_SELECTION_MOST);
    dpt_selection *s = dpt_alloc_zero(1, sizeof *s);
    DPT_CHECK_ALLOC(s);
    s->samples = samples;
    s->blocks = samples / BLOCK + (samples % BLOCK != 0);
    s->word = dpt_alloc_zero(s->blocks * WORDS, sizeof *s->word);
    if (s->word == NULL) {
        dpt_selection_destroy(&s);
        return DPT_ERR_MEMORY;
    }
    if (all) dpt_selection_add(s, 0, samples);
    *selection = s;
    return DPT_OK;
}

void dpt_selection_destroy(dpt_selection **selection) {
    if (*selection) {
        dpt_free((*selection)->word);
        dpt_free((*selection)->before);
    }
    dpt_free(*selection);
    *selection = NULL;
}

/* The bits of word w that stand for samples [first, end). */
static uint64_t mask(uint64_t w, uint64_t first, uint64_t end) {
    uint64_t from = first > w * 64 ? first - w * 64 : 0, to = end - w * 64;
    uint64_t below_end = to < 64 ? ((uint64_t)1 << to) - 1 : UINT64_MAX;
    return below_end & UINT64_MAX << from;
}

void dpt_selection_add(dpt_selection *s, uint64_t first, uint64_t count) {
    for (uint64_t w = first / 64; count > 0 && w <= (first + count - 1) / 64; w++)
        s->word[w] |= mask(w, first, first + count);
}

void dpt_selection_remove(dpt_selection *s, uint64_t first, uint64_t count) {
    for (uint64_t w = first / 64; count > 0 && w <= (first + count - 1) / 64; w++)
        s->word[w] &= ~mask(w, first, first + count);
}

void dpt_selection_keep_of(dpt_selection *s, const dpt_selection *other) {
    for (uint64_t w = 0; w < s->blocks * WORDS; w++) s->word[w] &= other->word[w];
}

void dpt_selection_remove_of(dpt_selection *s, const dpt_selection *other) {
    for (uint64_t w = 0; w < s->blocks * WORDS; w++) s->word[w] &= ~other->word[w];
}

static ALWAYS_INLINE uint64_t count_bits(uint64_t word) { return (uint64_t)__builtin_popcountll(word); }

uint64_t dpt_selection_common(const dpt_selection *a, const dpt_selection *b) {
    uint64_t count = 0;
    for (uint64_t w = 0; w < a->blocks * WORDS; w++) count += count_bits(a->word[w] & b->word[w]);
    return count;
}

bool dpt_selection_holds(const dpt_selection *s, uint64_t sample) { return s->word[sample / 64] >> sample % 64 & 1; }

static uint64_t digest_of(const dpt_selection *s) {
    dpt_digest digest = {0};
    dpt_digest_i64(&digest, (int64_t)s->samples);
    for (uint64_t b = 0; b < s->blocks; b++) {
        unsigned char bytes[BLOCK / 8];
        for (uint64_t i = 0; i < BLOCK / 8; i++) bytes[i] = (unsigned char)(s->word[b * WORDS + i / 8] >> 8 * (i % 8));
        dpt_digest_bytes(&digest, bytes, sizeof bytes);
    }
    return digest.value;
}

static void fill_hints(dpt_selection *s) {
    uint64_t next = 0; /* row whose hint is due */
    for (uint64_t b = 0; b < s->blocks; b++)
        for (; next < s->before[b + 1]; next += (uint64_t)1 << HINT_SHIFT) s->hint[next >> HINT_SHIFT] = b;
}

dpt_status dpt_selection_seal(dpt_selection *s) {
    uint64_t rows = dpt_selection_common(s, s);
    DPT_CHECK(rows > 0, DPT_ERR_DATA, "no sample is left of %llu", (unsigned long long)s->samples);
    uint64_t hints = ((rows - 1) >> HINT_SHIFT) + 1;
    uint64_t *before = dpt_alloc((s->blocks + 1 + hints) * sizeof *before);
    DPT_CHECK_ALLOC(before);
    dpt_free(s->before);
    s->before = before;
    s->hint = before + s->blocks + 1;
    s->rows = rows;
    before[0] = 0;
    for (uint64_t b = 0; b < s->blocks; b++) {
        before[b + 1] = before[b];
        for (int w = 0; w < WORDS; w++) before[b + 1] += count_bits(s->word[b * WORDS + (uint64_t)w]);
    }
    fill_hints(s);
    s->digest = digest_of(s);
    return DPT_OK;
}

dpt_status dpt_selection_share(const dpt_control *control, dpt_selection *s) {
    DPT_TRY(dpt_control_broadcast(control, s->word, s->blocks * WORDS * sizeof *s->word, 0));
    return dpt_control_agree(control, dpt_selection_seal(s));
}

uint64_t dpt_selection_rows(const dpt_selection *s) { return s->rows; }
uint64_t dpt_selection_samples(const dpt_selection *s) { return s->samples; }
uint64_t dpt_selection_digest(const dpt_selection *s) { return s->digest; }

/* The place of the n-th set bit of a word, from 0: halves, and halves of halves. */
static ALWAYS_INLINE uint64_t find_bit(uint64_t word, uint64_t n) {
    uint64_t at = 0;
    for (uint64_t half = 32; half > 0; half /= 2) {
        uint64_t low = count_bits(word & (((uint64_t)1 << half) - 1));
        bool above = n >= low;
        n -= above ? low : 0;
        word >>= above ? half : 0;
        at += above ? half : 0;
    }
    return at;
}

static ALWAYS_INLINE uint64_t find_sample(const dpt_selection *s, uint64_t k) {
    uint64_t h = k >> HINT_SHIFT, low = s->hint[h];
    uint64_t high = h < (s->rows - 1) >> HINT_SHIFT ? s->hint[h + 1] : s->blocks - 1;
    while (low < high) { /* the last block with no more than k rows before it; empty ones before it have as many */
        uint64_t middle = low + (high - low + 1) / 2;
        if (s->before[middle] <= k)
            low = middle;
        else
            high = middle - 1;
    }
    uint64_t n = k - s->before[low], w = low * WORDS;
    for (uint64_t count; n >= (count = count_bits(s->word[w])); w++) n -= count;
    return w * 64 + find_bit(s->word[w], n);
}

uint64_t dpt_selection_sample(const dpt_selection *s, uint64_t k) { return find_sample(s, k); }

DPT_MULTIVERSION static void find_samples(const dpt_selection *s, uint64_t count, uint64_t *row) {
    for (uint64_t i = 0; i < count; i++) row[i] = find_sample(s, row[i]);
}

void dpt_selection_find(const dpt_selection *s, uint64_t count, uint64_t *row) { find_samples(s, count, row); }

void dpt_selection_run(const dpt_selection *s, uint64_t k, uint64_t count, uint64_t *sample) {
    if (count == 0) return;
    uint64_t first = dpt_selection_sample(s, k), w = first / 64, bits = s->word[w] & UINT64_MAX << first % 64;
    for (uint64_t i = 0; i < count; i++, bits &= bits - 1) {
        while (bits == 0) bits = s->word[++w];
        sample[i] = w * 64 + (uint64_t)__builtin_ctzll(bits);
    }
}

uint64_t dpt_selection_rank(const dpt_selection *s, uint64_t sample) {
    uint64_t rows = s->before[sample / BLOCK];
    for (uint64_t w = sample / BLOCK * WORDS; w < sample / 64; w++) rows += count_bits(s->word[w]);
    if (sample % 64) rows += count_bits(s->word[sample / 64] & (((uint64_t)1 << sample % 64) - 1));
    return rows;
}
