/* npy_header.c: see npy_header.h. A reader of the little of Python that NumPy writes, byte by byte: nothing is
 * evaluated, nothing is skipped that is not a blank, and the first byte that does not fit is named. */
#include "data/npy_header.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WORD = 40 };

static const unsigned char magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

bool dpt_npy_is(const unsigned char *prefix, int64_t bytes) {
    return bytes >= (int64_t)sizeof magic && memcmp(prefix, magic, sizeof magic) == 0;
}

dpt_status dpt_npy_length_bytes(const unsigned char *prefix, int *bytes) {
    int major = prefix[6], minor = prefix[7];
    DPT_CHECK(major >= 1 && major <= 3 && minor == 0, DPT_ERR_UNSUPPORTED,
              "NPY version %d.%d is not supported (only 1.0, 2.0 and 3.0)", major, minor);
    *bytes = major == 1 ? 2 : 4;
    return DPT_OK;
}

typedef struct cursor {
    const char *text;
    int64_t at, bytes;
} cursor;

/* The next byte; -1 at the end. */
static int peek(const cursor *c) { return c->at < c->bytes ? (unsigned char)c->text[c->at] : -1; }

static dpt_status unexpected(const cursor *c, const char *wanted) {
    char found[24] = "its end";
    int next = peek(c);
    if (next > ' ' && next < 127)
        snprintf(found, sizeof found, "\"%c\"", next);
    else if (next >= 0)
        snprintf(found, sizeof found, "byte 0x%02x", next);
    return dpt_error(DPT_ERR_DATA, "damaged header: at byte %lld of its text stands %s, not %s", (long long)c->at,
                     found, wanted);
}

static void skip_blanks(cursor *c) {
    while (peek(c) == ' ' || peek(c) == '\n' || peek(c) == '\t' || peek(c) == '\r') c->at++;
}

static bool take(cursor *c, char wanted) {
    skip_blanks(c);
    if (peek(c) != wanted) return false;
    c->at++;
    return true;
}

static dpt_status expect(cursor *c, char wanted) {
    char text[] = {'"', wanted, '"', 0};
    return take(c, wanted) ? DPT_OK : unexpected(c, text);
}

/* A text in quotes: printable ASCII without escapes. */
static dpt_status read_word(cursor *c, const char *what, char word[MAX_WORD + 1]) {
    skip_blanks(c);
    int quote = peek(c), n = 0;
    if (quote != '\'' && quote != '"') return unexpected(c, what);
    for (c->at++; peek(c) != quote; c->at++) {
        int next = peek(c);
        if (next < ' ' || next > 126 || next == '\\') return unexpected(c, "a letter or the quote that closes a text");
        DPT_CHECK(n < MAX_WORD, DPT_ERR_DATA, "damaged header: a text of more than %d bytes", MAX_WORD);
        word[n++] = (char)next;
    }
    c->at++;
    word[n] = 0;
    return DPT_OK;
}

/* ---- descr ---- */

static dpt_status refuse_type(const char *word, char kind) {
    static const struct {
        char kind;
        const char *what;
    } known[] = {{'O', "Python objects: a pickle, which could run code and is never read"},
                 {'S', "byte strings"},
                 {'a', "byte strings"},
                 {'U', "strings"},
                 {'V', "raw bytes or structures"},
                 {'c', "complex numbers"},
                 {'M', "dates"},
                 {'m', "spans of time"},
                 {'f', "floats of this width"},
                 {'i', "integers of this width"},
                 {'u', "integers of this width"}};
    const char *what = "of an unknown kind";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].kind == kind) what = known[i].what;
    return dpt_error(DPT_ERR_UNSUPPORTED,
                     "elements of type \"%s\" (%s) are not supported; bool, integers of 8 to 64 bits and floats of 16 "
                     "to 64 are: numpy.save(file, a.astype(\"f4\"))",
                     word, what);
}

/* "<f4": byte order, kind, bytes. */
static dpt_status read_type(const char *word, dpt_npy_header *header) {
    char order = word[0];
    bool has_order = order == '<' || order == '>' || order == '|';
    const char *kind = has_order ? word + 1 : word;
    if (*kind == 0) return refuse_type(word, 0);
    header->is_bool = strcmp(kind, "b1") == 0;
    bool number = (*kind == 'f' || *kind == 'i' || *kind == 'u') && kind[1] >= '1' && kind[1] <= '8' && kind[2] == 0;
    if (!header->is_bool && !number) return refuse_type(word, *kind);
    int bytes = kind[1] - '0';
    header->stored = (dpt_stored){.kind = *kind == 'f'   ? DPT_STORED_FLOAT
                                          : *kind == 'i' ? DPT_STORED_SIGNED
                                                         : DPT_STORED_UNSIGNED,
                                  .bytes = (uint8_t)bytes,
                                  .big_endian = order == '>' && bytes > 1};
    if (!dpt_stored_valid(header->stored)) return refuse_type(word, *kind);
    DPT_CHECK(has_order && (bytes == 1 || order != '|'), DPT_ERR_UNSUPPORTED,
              "elements of type \"%s\" do not say their byte order (\"<%s\" or \">%s\" would)", word, kind, kind);
    return DPT_OK;
}

static dpt_status read_descr(cursor *c, dpt_npy_header *header) {
    char word[MAX_WORD + 1];
    skip_blanks(c);
    DPT_CHECK(peek(c) != '[' && peek(c) != '(', DPT_ERR_UNSUPPORTED,
              "structured elements (of several values each) are not supported; save each field by itself: "
              "numpy.save(file, a[\"field\"])");
    DPT_TRY(read_word(c, "a type in quotes", word));
    return read_type(word, header);
}

/* ---- fortran_order, shape ---- */

static dpt_status read_order(cursor *c, dpt_npy_header *header) {
    static const char *const names[] = {"False", "True"};
    skip_blanks(c);
    for (int i = 0; i < 2; i++) {
        int64_t n = (int64_t)strlen(names[i]);
        if (n > c->bytes - c->at || memcmp(c->text + c->at, names[i], (size_t)n) != 0) continue;
        c->at += n;
        header->fortran_order = i == 1;
        return DPT_OK;
    }
    return unexpected(c, "True or False");
}

/* A decimal number as Python writes it; Python 2 may have put an L behind. */
static dpt_status read_size(cursor *c, int axis, int64_t *size) {
    bool negative = take(c, '-'), over = false;
    skip_blanks(c);
    int64_t start = c->at;
    *size = 0;
    for (; peek(c) >= '0' && peek(c) <= '9'; c->at++)
        over |= __builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, peek(c) - '0', size);
    if (c->at == start) return unexpected(c, "the size of an axis");
    DPT_CHECK(c->text[start] != '0' || c->at == start + 1, DPT_ERR_DATA,
              "damaged header: the size of axis %d begins with 0", axis);
    DPT_CHECK(!over, DPT_ERR_DATA, "axis %d has a size beyond 2^63", axis);
    DPT_CHECK(!negative, DPT_ERR_DATA, "axis %d has size -%lld", axis, (long long)*size);
    DPT_CHECK(*size > 0, DPT_ERR_DATA, "axis %d has size 0", axis);
    if (peek(c) == 'L') c->at++;
    return DPT_OK;
}

static dpt_status read_shape(cursor *c, dpt_npy_header *header) {
    header->ndim = 0;
    DPT_TRY(expect(c, '('));
    while (!take(c, ')')) {
        DPT_CHECK(header->ndim < DPT_MAX_NDIM + 1, DPT_ERR_UNSUPPORTED, "more than %d axes are not supported",
                  DPT_MAX_NDIM + 1);
        DPT_TRY(read_size(c, header->ndim, &header->dim[header->ndim]));
        bool closes = header->ndim++ > 0 && take(c, ')'); /* "(3)" is no tuple */
        if (closes) break;
        DPT_TRY(expect(c, ','));
    }
    DPT_CHECK(header->ndim > 0, DPT_ERR_DATA,
              "a single value, without an axis of rows; numpy.save(file, a.reshape(1)) makes one row of it");
    return DPT_OK;
}

/* ---- the dictionary ---- */

static const struct {
    const char *name;
    dpt_status (*read)(cursor *c, dpt_npy_header *header);
} keys[] = {{"descr", read_descr}, {"fortran_order", read_order}, {"shape", read_shape}};
enum { KEYS = sizeof keys / sizeof *keys };

static dpt_status read_pair(cursor *c, bool seen[KEYS], dpt_npy_header *header) {
    char word[MAX_WORD + 1];
    DPT_TRY(read_word(c, "a key in quotes", word));
    int k = 0;
    while (k < KEYS && strcmp(word, keys[k].name) != 0) k++;
    DPT_CHECK(k < KEYS, DPT_ERR_DATA, "damaged header: unknown key \"%s\"", word);
    DPT_CHECK(!seen[k], DPT_ERR_DATA, "damaged header: key \"%s\" stands twice", word);
    seen[k] = true;
    DPT_TRY(expect(c, ':'));
    return keys[k].read(c, header);
}

static dpt_status count_bytes(dpt_npy_header *header) {
    bool over = false;
    header->elements = 1;
    for (int i = 1; i < header->ndim; i++)
        over |= __builtin_mul_overflow(header->elements, header->dim[i], &header->elements);
    over |= __builtin_mul_overflow(header->elements, header->dim[0], &header->bytes);
    over |= __builtin_mul_overflow(header->bytes, (int64_t)header->stored.bytes, &header->bytes);
    DPT_CHECK(!over, DPT_ERR_DATA, "declares more than 2^63 bytes");
    return DPT_OK;
}

dpt_status dpt_npy_header_read(const char *text, int64_t bytes, dpt_npy_header *header) {
    cursor c = {.text = text, .bytes = bytes};
    bool seen[KEYS] = {false};
    *header = (dpt_npy_header){.ndim = 0};
    DPT_TRY(expect(&c, '{'));
    while (!take(&c, '}')) {
        DPT_TRY(read_pair(&c, seen, header));
        if (take(&c, '}')) break;
        DPT_TRY(expect(&c, ','));
    }
    for (int k = 0; k < KEYS; k++)
        DPT_CHECK(seen[k], DPT_ERR_DATA, "damaged header: key \"%s\" is missing", keys[k].name);
    skip_blanks(&c);
    if (c.at < c.bytes) return unexpected(&c, "its end");
    return count_bytes(header);
}
