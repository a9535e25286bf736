/* stored.c: see stored.h. A little-endian machine is assumed, as everywhere in this folder. */
#include "data/stored.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are taken as they stand in memory: little-endian");

dpt_stored dpt_stored_of(dpt_dtype dtype) {
    dpt_stored_kind kind = dtype == DPT_U8                        ? DPT_STORED_UNSIGNED
                           : dtype == DPT_I32 || dtype == DPT_I64 ? DPT_STORED_SIGNED
                                                                  : DPT_STORED_FLOAT;
    return (dpt_stored){.kind = (uint8_t)kind, .bytes = (uint8_t)dpt_dtype_size(dtype)};
}

bool dpt_stored_equal(dpt_stored a, dpt_stored b) {
    return a.kind == b.kind && a.bytes == b.bytes && a.big_endian == b.big_endian;
}

bool dpt_stored_is(dpt_stored stored, dpt_dtype dtype) {
    return dtype != DPT_BF16 && dpt_stored_equal(stored, dpt_stored_of(dtype));
}

/* 0 to 3 for 1, 2, 4, 8 bytes; -1 for others. */
static int width(dpt_stored s) {
    return s.bytes == 1 ? 0 : s.bytes == 2 ? 1 : s.bytes == 4 ? 2 : s.bytes == 8 ? 3 : -1;
}

bool dpt_stored_valid(dpt_stored s) {
    if (s.kind >= DPT_STORED_KIND_COUNT || width(s) < 0) return false;
    return s.bytes > 1 || (s.kind != DPT_STORED_FLOAT && !s.big_endian);
}

const char *dpt_stored_text(dpt_stored s) {
    static const char *const text[DPT_STORED_KIND_COUNT][4] = {
        {"?", "f16", "f32", "f64"}, {"i8", "i16", "i32", "i64"}, {"u8", "u16", "u32", "u64"}};
    static const char *const big[DPT_STORED_KIND_COUNT][4] = {
        {"?", "f16 big-endian", "f32 big-endian", "f64 big-endian"},
        {"?", "i16 big-endian", "i32 big-endian", "i64 big-endian"},
        {"?", "u16 big-endian", "u32 big-endian", "u64 big-endian"}};
    if (!dpt_stored_valid(s)) return "?";
    return s.big_endian ? big[s.kind][width(s)] : text[s.kind][width(s)];
}
