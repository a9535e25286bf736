/* NPY and NPZ as streams of rows: every type in both orders, forms of the header, what is refused, truncations and
 * flipped bytes; files that NumPy itself wrote, where it is installed. */
#include "data/import_stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/numbers.h"
#include "data/npy_header.h"
#include "npy_files.h"

/* Arrays of [ROWS, 3, 4], value number k of C order being value_of(k): exact in every type. */
enum { ROWS = 5, ELEMENTS = 12, VALUES = ROWS * ELEMENTS };

typedef struct type_case {
    const char *name; /* NumPy's, without byte order */
    dpt_dtype dtype;  /* as it is written */
} type_case;
static const type_case types[] = {{"b1", DPT_U8},  {"u1", DPT_U8},  {"u2", DPT_I32}, {"u4", DPT_I64},
                                  {"u8", DPT_I64}, {"i1", DPT_I32}, {"i2", DPT_I32}, {"i4", DPT_I32},
                                  {"i8", DPT_I64}, {"f2", DPT_F32}, {"f4", DPT_F32}, {"f8", DPT_F64}};
enum { TYPES = sizeof types / sizeof *types };

/* 0 to 100, less 50 where there is a sign, in all bytes of the type; floats in eighths; bool: 0 and 1. */
static int64_t value_of(const char *type, int64_t k) {
    static const int64_t spread[] = {0, 1, 257, 0, 16843009, 0, 0, 0, 72340172838076673};
    int64_t v = (k * 37 + 11) % 101;
    if (type[0] == 'b') return v % 2;
    if (type[0] == 'f') return v - 50;
    return (type[0] == 'i' ? v - 50 : v) * spread[type[1] - '0'];
}

static void put_value(byte_list *list, const char *type, bool big, int64_t value) {
    int bytes = type[1] - '0';
    uint64_t bits = (uint64_t)value;
    if (type[0] == 'f') {
        double d = (double)value / 8;
        float f = (float)d;
        uint64_t b8;
        memcpy(&b8, &d, 8);
        bits = bytes == 8 ? b8 : bytes == 4 ? dpt_bits_of_f32(f) : dpt_f16_of_f32(f);
    }
    if (big) bits = __builtin_bswap64(bits) >> 8 * (8 - bytes);
    put_number(list, bits, bytes);
}

/* k: position in the file to position in C order. */
static int64_t c_position(int64_t k, bool fortran) {
    int64_t row = k % ROWS, i = k / ROWS % 3, j = k / ROWS / 3;
    return fortran ? row * ELEMENTS + i * 4 + j : k;
}

static void make_array(byte_list *list, const char *type, char order, bool fortran) {
    char text[200];
    snprintf(text, sizeof text, "{'descr': '%c%s', 'fortran_order': %s, 'shape': (%d, 3, 4), }          \n",
             type[1] == '1' ? '|' : order, type, fortran ? "True" : "False", ROWS);
    npy_head(list, 1, text);
    for (int64_t k = 0; k < VALUES; k++) put_value(list, type, order == '>', value_of(type, c_position(k, fortran)));
}

static double number_at(dpt_dtype dtype, const void *values, int64_t i) {
    switch (dtype) {
        case DPT_F32: return ((const float *)values)[i];
        case DPT_F64: return ((const double *)values)[i];
        case DPT_U8: return ((const uint8_t *)values)[i];
        case DPT_I32: return ((const int32_t *)values)[i];
        default: return NAN;
    }
}

static int wrong_values(const type_case *type, const void *values) {
    int wrong = 0;
    for (int64_t k = 0; k < VALUES; k++) {
        int64_t value = value_of(type->name, k);
        if (type->dtype == DPT_I64)
            wrong += ((const int64_t *)values)[k] != value;
        else
            wrong += number_at(type->dtype, values, k) != (type->name[0] == 'f' ? (double)value / 8 : (double)value);
    }
    return wrong;
}

static dpt_status open_part(const char *name, const char *part, dpt_import_stream *stream) {
    dpt_import_source source = {.dataset = "/x", .file = file_path(name), .part = part};
    return dpt_import_open_npy(&source, stream);
}

/* All rows, a few at a time; nothing is left open. */
static dpt_status read_part(const char *name, const char *part, int64_t at_once, dpt_import_stream *about, void *out) {
    dpt_import_stream stream;
    DPT_TRY(open_part(name, part, &stream));
    *about = stream;
    dpt_status status = DPT_OK;
    int64_t got = 1, rows = 0;
    while (status == DPT_OK && got > 0) {
        status = stream.read(&stream, at_once, (char *)out + rows * stream.row_bytes, &got);
        CHECK(got <= at_once);
        rows += got;
    }
    if (status == DPT_OK) CHECK_EQ_I64(rows, stream.dim[0]);
    stream.close(&stream);
    return status;
}

static void check_array(const char *name, const char *part, const type_case *type) {
    dpt_import_stream s;
    for (int64_t at_once = 1; at_once <= 2 * ROWS; at_once += 3) { /* 1, 4, 7, 10 */
        int64_t values[VALUES + 1] = {0};
        if (!CHECK_OK(read_part(name, part, at_once, &s, values))) return;
        CHECK(s.dtype == type->dtype && s.ndim == 3 && s.dim[0] == ROWS && s.dim[1] == 3 && s.dim[2] == 4);
        CHECK_EQ_I64(s.row_bytes, ELEMENTS * dpt_dtype_size(type->dtype));
        check_that(wrong_values(type, values) == 0, __FILE__, __LINE__, "%s#%s of type %s: %d of %d values wrong", name,
                   part ? part : "", type->name, wrong_values(type, values), VALUES);
    }
}

static void every_type(void) {
    static byte_list list;
    for (int t = 0; t < TYPES; t++)
        for (int form = 0; form < 4; form++) {
            make_array(&list, types[t].name, form % 2 ? '>' : '<', form / 2);
            file_write("a.npy", list.data, list.count);
            check_array("a.npy", NULL, &types[t]);
        }
}

/* ---- headers ---- */

static void header_forms(void) {
    static const char *const forms[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3, 4), }  \n",
        "{'shape':(5,3,4),'fortran_order':False,'descr':'<f4'}",
        "{ \"fortran_order\" : False , \"descr\" : \"<f4\" , \"shape\" : ( 5 , 3 , 4 , ) , } ",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5L, 3L, 4L)}\n"};
    static byte_list list;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        for (int version = 1; version <= 3; version++) {
            npy_head(&list, version, forms[i]);
            for (int64_t k = 0; k < VALUES; k++) put_value(&list, "f4", false, value_of("f4", k));
            file_write("form.npy", list.data, list.count);
            check_array("form.npy", NULL, &(type_case){"f4", DPT_F32});
        }
    dpt_npy_header h;
    const char nine[] = "{'descr': '|u1', 'fortran_order': True, 'shape': (7, 1, 1, 1, 1, 1, 1, 1, 2)}",
               one[] = "{'descr': '>u2', 'fortran_order': True, 'shape': (9223372036854775807,)}",
               byte[] = "{'descr': '>u1', 'fortran_order': False, 'shape': (3,)}";
    CHECK_OK(dpt_npy_header_read(nine, sizeof nine - 1, &h));
    CHECK(h.ndim == 9 && h.elements == 2 && h.bytes == 14 && h.fortran_order && !h.is_bool);
    CHECK_OK(dpt_npy_header_read(byte, sizeof byte - 1, &h));
    CHECK(dpt_stored_is(h.stored, DPT_U8));
    CHECK_FAILS(dpt_npy_header_read(one, sizeof one - 1, &h), DPT_ERR_DATA, "declares more than 2^63 bytes");
}

/* The keys but for the one tested: each text is a whole header. */
#define TYPE(descr) "{'descr': " descr ", 'fortran_order': False, 'shape': (2,)}"
#define SHAPE(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape "}"

static const struct {
    const char *text;
    dpt_status code;
    const char *message;
} bad_headers[] = {
    {TYPE("'|O'"), DPT_ERR_UNSUPPORTED, "\"|O\" (Python objects: a pickle, which could run code and is never read)"},
    {TYPE("'|S5'"), DPT_ERR_UNSUPPORTED, "\"|S5\" (byte strings)"},
    {TYPE("'<U10'"), DPT_ERR_UNSUPPORTED, "\"<U10\" (strings)"},
    {TYPE("'|V16'"), DPT_ERR_UNSUPPORTED, "\"|V16\" (raw bytes or structures)"},
    {TYPE("'<c8'"), DPT_ERR_UNSUPPORTED, "(complex numbers)"},
    {TYPE("'<M8[ns]'"), DPT_ERR_UNSUPPORTED, "(dates)"},
    {TYPE("'<f16'"), DPT_ERR_UNSUPPORTED, "\"<f16\" (floats of this width)"},
    {TYPE("'<f1'"), DPT_ERR_UNSUPPORTED, "\"<f1\" (floats of this width)"},
    {TYPE("'<i3'"), DPT_ERR_UNSUPPORTED, "\"<i3\" (integers of this width)"},
    {TYPE("'<i0'"), DPT_ERR_UNSUPPORTED, "(integers of this width)"},
    {TYPE("'<b2'"), DPT_ERR_UNSUPPORTED, "of an unknown kind"},
    {TYPE("''"), DPT_ERR_UNSUPPORTED, "of an unknown kind"},
    {TYPE("'<'"), DPT_ERR_UNSUPPORTED, "of an unknown kind"},
    {TYPE("'f4'"), DPT_ERR_UNSUPPORTED, "\"f4\" do not say their byte order (\"<f4\" or \">f4\" would)"},
    {TYPE("'|f4'"), DPT_ERR_UNSUPPORTED, "do not say their byte order"},
    {TYPE("'=f4'"), DPT_ERR_UNSUPPORTED, "of an unknown kind"},
    {TYPE("[('a', '<f4'), ('b', '<i4')]"), DPT_ERR_UNSUPPORTED, "numpy.save(file, a[\"field\"])"},
    {TYPE("('<f4', (2,))"), DPT_ERR_UNSUPPORTED, "structured elements"},
    {TYPE("__import__('os')"), DPT_ERR_DATA, "\"_\", not a type in quotes"},
    {TYPE("'<f\\x34'"), DPT_ERR_DATA, "stands \"\\\""},
    {TYPE("'<f4\n'"), DPT_ERR_DATA, "stands byte 0x0a"},
    {TYPE("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'"), DPT_ERR_DATA, "a text of more than 40 bytes"},
    {SHAPE("(-3, 4)"), DPT_ERR_DATA, "axis 0 has size -3"},
    {SHAPE("(3, 0)"), DPT_ERR_DATA, "axis 1 has size 0"},
    {SHAPE("(9223372036854775808,)"), DPT_ERR_DATA, "axis 0 has a size beyond 2^63"},
    {SHAPE("(99999999999999999999999999,)"), DPT_ERR_DATA, "axis 0 has a size beyond 2^63"},
    {SHAPE("(4294967296, 4294967296)"), DPT_ERR_DATA, "declares more than 2^63 bytes"},
    {SHAPE("(2305843009213693952,)"), DPT_ERR_DATA, "declares more than 2^63 bytes"},
    {SHAPE("()"), DPT_ERR_DATA, "a single value, without an axis of rows"},
    {SHAPE("(3)"), DPT_ERR_DATA, "stands \")\", not \",\""},
    {SHAPE("(,)"), DPT_ERR_DATA, "not the size of an axis"},
    {SHAPE("(3,,)"), DPT_ERR_DATA, "not the size of an axis"},
    {SHAPE("(03,)"), DPT_ERR_DATA, "the size of axis 0 begins with 0"},
    {SHAPE("(3.0,)"), DPT_ERR_DATA, "stands \".\""},
    {SHAPE("(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)"), DPT_ERR_UNSUPPORTED, "more than 9 axes"},
    {SHAPE("[3]"), DPT_ERR_DATA, "stands \"[\", not \"(\""},
    {SHAPE("(3,)") "x", DPT_ERR_DATA, "stands \"x\", not its end"},
    {"", DPT_ERR_DATA, "stands its end, not \"{\""},
    {"{}", DPT_ERR_DATA, "key \"descr\" is missing"},
    {"{'descr': '<f4', 'shape': (2,)}", DPT_ERR_DATA, "key \"fortran_order\" is missing"},
    {"{'descr': '<f4', 'fortran_order': False}", DPT_ERR_DATA, "key \"shape\" is missing"},
    {"{'descr': '<f4', 'descr': '<f4'}", DPT_ERR_DATA, "key \"descr\" stands twice"},
    {"{'shape': (2,), 'shape': (3,)}", DPT_ERR_DATA, "key \"shape\" stands twice"},
    {"{'order': False}", DPT_ERR_DATA, "unknown key \"order\""},
    {"{'fortran_order': 0}", DPT_ERR_DATA, "not True or False"},
    {"{'fortran_order': Fals", DPT_ERR_DATA, "not True or False"},
    {"{'descr' '<f4'}", DPT_ERR_DATA, "not \":\""},
    {"{'descr': '<f4' 'shape': (2,)}", DPT_ERR_DATA, "not \",\""},
    {"{'descr': '<f4", DPT_ERR_DATA, "stands its end"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", DPT_ERR_DATA, "stands its end"},
    {"{'shape': (2", DPT_ERR_DATA, "stands its end"},
};

static void refused_headers(void) {
    static byte_list list;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        npy_head(&list, 1, bad_headers[i].text);
        put_number(&list, 0, 8);
        file_write("bad.npy", list.data, list.count);
        dpt_import_stream s;
        CHECK_FAILS(open_part("bad.npy", NULL, &s), bad_headers[i].code, bad_headers[i].message);
        CHECK(strstr(dpt_last_error(), "bad.npy: ") != NULL && s.state == NULL);
    }
}

/* Headers changed at random, in exact copies, so that a sanitizer sees a byte too far: whatever passes is consistent.
 */
static void mutated_headers(void) {
    static const char good[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (17, 3, 4L), } \n";
    static const char some[] = "{}()[],:'\"<>|=-0123456789L \nfiubOSTrueFalsdcp\\\377";
    uint64_t state = 1;
    int passed = 0;
    for (int round = 0; round < 20000; round++) {
        char *text = malloc(sizeof good);
        memcpy(text, good, sizeof good);
        int64_t n = sizeof good - 1;
        for (int changes = round % 4 + 1; changes > 0; changes--) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            text[(state >> 33) % (uint64_t)n] = some[(state >> 20) % (sizeof some - 1)];
            if (state >> 60 == 0) n -= (int64_t)(state >> 50) % n;
        }
        char *exact = malloc((size_t)n);
        memcpy(exact, text, (size_t)n);
        dpt_npy_header h;
        if (dpt_npy_header_read(exact, n, &h) == DPT_OK) {
            passed++;
            int64_t bytes = h.stored.bytes;
            for (int i = 0; i < h.ndim; i++) bytes *= h.dim[i];
            CHECK(h.ndim >= 1 && h.ndim <= 9 && bytes == h.bytes && bytes > 0 && dpt_stored_valid(h.stored));
        }
        free(text);
        free(exact);
    }
    CHECK(passed > 200 && passed < 15000);
}

/* ---- files ---- */

static void refuse(const char *name, const char *part, dpt_status code, const char *text) {
    dpt_import_stream s;
    char values[VALUES * 8];
    CHECK_FAILS(read_part(name, part, 2 * ROWS, &s, values), code, text);
    if (strstr(dpt_last_error(), name) == NULL) CHECK_EQ_TEXT(dpt_last_error(), name);
}

static void bad_files(void) {
    static byte_list list;
    refuse("none.npy", NULL, DPT_ERR_IO, "none.npy: No such file or directory");
    file_write("empty.npy", "", 0);
    refuse("empty.npy", NULL, DPT_ERR_DATA, "empty.npy: neither an NPY nor an NPZ file");
    file_write("pickle.npy", "\x80\4\x95 a pickle", 12);
    refuse("pickle.npy", NULL, DPT_ERR_DATA, "neither an NPY nor an NPZ file");
    mkdir(file_path("folder.npy"), 0777);
    refuse("folder.npy", NULL, DPT_ERR_DATA, "not a regular file");
    CHECK(mkfifo(file_path("pipe.npy"), 0600) == 0);
    refuse("pipe.npy", NULL, DPT_ERR_DATA, "not a regular file");
    file_write("version.npy", "\x93NUMPY\4\0\0\0\0\0", 12);
    refuse("version.npy", NULL, DPT_ERR_UNSUPPORTED, "NPY version 4.0 is not supported");
    file_write("minor.npy", "\x93NUMPY\1\1\0\0\0\0", 12);
    refuse("minor.npy", NULL, DPT_ERR_UNSUPPORTED, "NPY version 1.1 is not supported");
    file_write("long.npy", "\x93NUMPY\2\0\xff\xff\xff\xff", 12);
    refuse("long.npy", NULL, DPT_ERR_UNSUPPORTED, "a header of 4294967295 bytes; at most 65536 are read");
    file_write("head.npy", "\x93NUMPY\1\0\x76\0{'descr'", 18);
    refuse("head.npy", NULL, DPT_ERR_DATA, "truncated in its header: 18 bytes of 128");
    make_array(&list, "f4", '<', false);
    file_write("part.npy", list.data, list.count);
    refuse("part.npy", "x", DPT_ERR_CONFIG, "an NPY file is one array and has no part \"x\"");
    put_number(&list, 0, 1);
    file_write("more.npy", list.data, list.count);
    refuse("more.npy", NULL, DPT_ERR_DATA, "holds 241 bytes of values, its header declares 240");
    file_write("less.npy", list.data, list.count - 2);
    refuse("less.npy", NULL, DPT_ERR_DATA, "holds 239 bytes of values, its header declares 240");
}

static void bad_values(void) {
    static byte_list list;
    make_array(&list, "u8", '<', false);
    list.data[list.count - 8 * ELEMENTS - 1] = 0xff; /* the last value of row 3 */
    for (int i = 2; i <= 8; i++) list.data[list.count - 8 * ELEMENTS - (size_t)i] = 0;
    file_write("u8.npy", list.data, list.count);
    refuse("u8.npy", NULL, DPT_ERR_DATA, "u8.npy: row 3: 18374686479671623680 is above 2^63-1");
    dpt_import_stream s;
    int64_t values[VALUES];
    CHECK_FAILS(read_part("u8.npy", NULL, 1, &s, values), DPT_ERR_DATA, "u8.npy: row 3: ");
    make_array(&list, "b1", '<', false);
    list.data[list.count - ELEMENTS] = 2;
    file_write("b1.npy", list.data, list.count);
    refuse("b1.npy", NULL, DPT_ERR_DATA, "b1.npy: row 4: a bool of value 2");
}

/* Cut anywhere, a file is refused as damaged, and named. */
static void check_cuts(const char *name) {
    static byte_list list;
    CHECK(file_read(name, &list) > 0);
    for (size_t n = 0; n < list.count; n++) {
        file_write("cut", list.data, n);
        refuse("cut", NULL, DPT_ERR_DATA, "cut");
    }
}

static void truncations(void) {
    static byte_list list;
    make_array(&list, "i2", '>', false);
    file_write("whole.npy", list.data, list.count);
    zip_write("stored.npz", &(zip_part){.name = "x.npy", .content = &list}, 1);
    zip_write("deflated.npz", &(zip_part){.name = "x.npy", .content = &list, .method = 8}, 1);
    check_cuts("whole.npy");
    check_cuts("stored.npz");
    check_cuts("deflated.npz");
}

/* A byte changed anywhere in an archive: refused, or of no consequence. */
static void flipped_bytes(void) {
    static byte_list list;
    dpt_import_stream s;
    const char *names[] = {"stored.npz", "deflated.npz"};
    int passed = 0, refused = 0;
    for (int f = 0; f < 2; f++) {
        CHECK(file_read(names[f], &list) > 0);
        for (size_t i = 0; i < list.count; i++) {
            int64_t values[VALUES];
            list.data[i] ^= 0x10;
            file_write("flip.npz", list.data, list.count);
            list.data[i] ^= 0x10;
            if (read_part("flip.npz", NULL, 2 * ROWS, &s, values) == DPT_OK) {
                passed++;
                CHECK(s.dtype == DPT_I32 && s.dim[0] == ROWS && wrong_values(&types[6], values) == 0);
            } else
                refused++;
        }
    }
    check_that(refused > 400 && passed > 20, __FILE__, __LINE__, "%d refused, %d passed", refused, passed);
}

static void archives(void) {
    static byte_list a, b, c;
    make_array(&a, "f2", '>', false);
    make_array(&b, "i8", '<', false);
    make_array(&c, "f4", '<', true);
    zip_write("two.npz",
              (zip_part[]){{.name = "x.npy", .content = &a, .method = 8}, {.name = "in/y.npy", .content = &b}}, 2);
    check_array("two.npz", "x", &types[9]);
    check_array("two.npz", "in/y", &types[8]);
    check_array("two.npz", "in/y.npy", &types[8]);
    refuse("two.npz", NULL, DPT_ERR_CONFIG, "two.npz: holds 2 arrays, and FILE#NAME says which one: x, in/y");
    refuse("two.npz", "z", DPT_ERR_CONFIG, "two.npz: has no array \"z\"; it holds x, in/y");
    zip_write("none.npz", NULL, 0);
    refuse("none.npz", NULL, DPT_ERR_DATA, "an archive without arrays");
    zip_write("fortran.npz", &(zip_part){.name = "x.npy", .content = &c}, 1);
    refuse("fortran.npz", NULL, DPT_ERR_UNSUPPORTED, "x=numpy.ascontiguousarray(a)) writes it in C order");
    zip_write("twice.npz", (zip_part[]){{.name = "x.npy", .content = &a}, {.name = "x", .content = &b}}, 2);
    refuse("twice.npz", "x", DPT_ERR_DATA, "holds the array \"x\" 2 times");
    c.count = 0;
    put_bytes(&c, "no array at all", 15);
    zip_write("text.npz", &(zip_part){.name = "read\nme.txt", .content = &c}, 1);
    refuse("text.npz", NULL, DPT_ERR_DATA, "text.npz#read?me.txt: not an NPY file");
}

static void lying_archives(void) {
    static byte_list a;
    make_array(&a, "f4", '<', false);
    zip_write("method.npz", &(zip_part){.name = "x.npy", .content = &a, .method = 12}, 1);
    refuse("method.npz", NULL, DPT_ERR_UNSUPPORTED, "ZIP's method 12");
    zip_write("secret.npz", &(zip_part){.name = "x.npy", .content = &a, .flags = 1}, 1);
    refuse("secret.npz", NULL, DPT_ERR_UNSUPPORTED, "encrypted");
    zip_write("crc.npz", &(zip_part){.name = "x.npy", .content = &a, .wrong_crc = 1}, 1);
    refuse("crc.npz", NULL, DPT_ERR_DATA, "crc.npz#x: damaged or truncated archive: CRC error");
    zip_write("crc8.npz", &(zip_part){.name = "x.npy", .content = &a, .wrong_crc = 1, .method = 8}, 1);
    refuse("crc8.npz", NULL, DPT_ERR_DATA, "CRC error");
    zip_write("size.npz", &(zip_part){.name = "x.npy", .content = &a, .more_bytes = 4, .method = 8}, 1);
    refuse("size.npz", NULL, DPT_ERR_DATA, "holds 244 bytes of values, its header declares 240");
    zip_write("bomb.npz", &(zip_part){.name = "x.npy", .content = &a, .more_bytes = 1 << 30, .method = 8}, 1);
    refuse("bomb.npz", NULL, DPT_ERR_DATA, "packed bytes cannot hold");
    zip_write("huge.npz", &(zip_part){.name = "x.npy", .content = &a, .more_bytes = 1 << 30}, 1);
    refuse("huge.npz", NULL, DPT_ERR_DATA, "huge.npz: ");
    /* a member that unpacks to more than it says; its NPY header fits what it says */
    make_array(&a, "f4", '<', false);
    put_number(&a, 0, 8);
    zip_write("over.npz", &(zip_part){.name = "x.npy", .content = &a, .more_bytes = -8, .method = 8}, 1);
    refuse("over.npz", NULL, DPT_ERR_DATA, "over.npz#x: ");
}

/* ---- larger than the buffers ---- */

static void long_arrays(void) {
    static byte_list list;
    enum { LONG = 70001 };
    char text[100];
    snprintf(text, sizeof text, "{'descr': '>i2', 'fortran_order': False, 'shape': (%d,)}", LONG);
    npy_head(&list, 1, text);
    for (int i = 0; i < LONG; i++) put_value(&list, "i2", true, i % 30000 - 15000);
    file_write("long.npy", list.data, list.count);
    zip_write("long.npz", &(zip_part){.name = "x.npy", .content = &list, .method = 8}, 1);
    for (int archive = 0; archive < 2; archive++) {
        dpt_import_stream s;
        int32_t *values = calloc(LONG, sizeof *values);
        int64_t got = 0;
        if (CHECK_OK(open_part(archive ? "long.npz" : "long.npy", NULL, &s))) {
            CHECK_OK(s.read(&s, 65000, values, &got));
            CHECK_EQ_I64(got, 65000);
            CHECK_OK(s.read(&s, 65000, values + got, &got));
            CHECK_EQ_I64(got, LONG - 65000);
            s.close(&s);
        }
        int wrong = 0;
        for (int i = 0; i < LONG; i++) wrong += values[i] != i % 30000 - 15000;
        CHECK_EQ_I64(wrong, 0);
        free(values);
    }
}

static int sparse_npy(const char *name, const char *text, int64_t bytes, int64_t *values_at) {
    static byte_list list;
    npy_head(&list, 1, text);
    file_write(name, list.data, list.count);
    *values_at = (int64_t)list.count;
    int file = open(file_path(name), O_WRONLY);
    CHECK(file >= 0 && ftruncate(file, (off_t)(*values_at + bytes)) == 0);
    return file;
}

/* Fortran order in more than one block of 32 MiB: [3000000, 3] of f4, zero but for the rows on both sides of a block's
 * end, which is after row 2796201, and the outermost. */
static void fortran_blocks(void) {
    enum { N = 3000000, STEP = 700000 };
    static const int64_t marked[] = {0, 2796201, 2796202, N - 1};
    int64_t at, got = 0, nonzero = 0, row = 0;
    int file = sparse_npy("blocks.npy", "{'descr': '<f4', 'fortran_order': True, 'shape': (3000000, 3)}", 12 * N, &at);
    for (int c = 0; c < 3; c++)
        for (int m = 0; m < 4; m++) {
            float value = (float)(1 + m * 3 + c);
            CHECK(pwrite(file, &value, 4, (off_t)(at + 4 * (c * (int64_t)N + marked[m]))) == 4);
        }
    close(file);
    dpt_import_stream s;
    float *values = malloc(12 * STEP);
    if (!CHECK_OK(open_part("blocks.npy", NULL, &s))) return;
    do {
        CHECK_OK(s.read(&s, STEP, values, &got));
        for (int64_t i = 0; i < 3 * got; i++) nonzero += values[i] != 0;
        for (int m = 0; m < 4; m++)
            for (int c = 0; c < 3 && marked[m] >= row && marked[m] < row + got; c++)
                CHECK(values[3 * (marked[m] - row) + c] == (float)(1 + m * 3 + c));
        row += got;
    } while (got == STEP);
    s.close(&s);
    free(values);
    CHECK(row == N && nonzero == 12);
    close(sparse_npy("rows.npy", "{'descr': '<f8', 'fortran_order': True, 'shape': (600000, 300, 400)}",
                     600000LL * 120000 * 8, &at));
    refuse("rows.npy", NULL, DPT_ERR_UNSUPPORTED, "rows of 960000 bytes in Fortran order are not supported");
    CHECK(strstr(dpt_last_error(), "rows.npy\", mmap_mode=\"r\"))) writes them in C order") != NULL);
}

/* Beyond 4 GiB and 2^32 rows. */
static void large_counts(void) {
    int64_t at;
    dpt_import_stream s;
    close(sparse_npy("large.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (5000000000,)}", 5000000000, &at));
    if (CHECK_OK(open_part("large.npy", NULL, &s))) {
        CHECK(s.dim[0] == 5000000000 && s.row_bytes == 1);
        s.close(&s);
    }
    close(sparse_npy("large.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (5000000000,)}", 4999999999, &at));
    refuse("large.npy", NULL, DPT_ERR_DATA, "holds 4999999999 bytes of values, its header declares 5000000000");
}

static int open_files(void) {
    DIR *folder = opendir("/proc/self/fd");
    int n = 0;
    while (folder && readdir(folder)) n++;
    if (folder) closedir(folder);
    return n;
}

static void out_of_memory(void) {
    static byte_list a;
    make_array(&a, "f4", '<', true);
    file_write("memory.npy", a.data, a.count);
    make_array(&a, "f4", '<', false);
    zip_write("memory.npz", &(zip_part){.name = "x.npy", .content = &a}, 1);
    for (int archive = 0; archive < 2; archive++) {
        int failures = 0;
        for (int64_t n = 1; n < 30; n++) {
            dpt_import_stream s;
            float values[VALUES];
            int before = open_files();
            dpt_alloc_fail_at(n);
            dpt_status status = read_part(archive ? "memory.npz" : "memory.npy", NULL, 2 * ROWS, &s, values);
            dpt_alloc_fail_at(0);
            CHECK_EQ_I64(open_files(), before);
            if (status == DPT_OK) break;
            CHECK(status == DPT_ERR_MEMORY);
            failures++;
        }
        CHECK(failures >= 4 && failures < 29);
    }
}

/* ---- NumPy's own files ---- */

static const char script[] =
    "import sys, numpy as n\n"
    "k = n.arange(60)\n"
    "v = (k * 37 + 11) % 101\n"
    "spread = {1: 1, 2: 257, 4: 16843009, 8: 72340172838076673}\n"
    "def array(t):\n"
    "    if t[0] == 'b': a = v % 2\n"
    "    elif t[0] == 'f': a = (v - 50) / 8\n"
    "    else: a = (v - 50 * (t[0] == 'i')) * spread[int(t[1])]\n"
    "    return a.reshape(5, 3, 4)\n"
    "both = {}\n"
    "for t in 'b1 u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8'.split():\n"
    "    for o in '<', '>':\n"
    "        a = array(t).astype(o + t)\n"
    "        e = t + ('le' if o == '<' else 'be')\n"
    "        both[e] = a\n"
    "        n.save('np_' + e + '_c.npy', a)\n"
    "        n.save('np_' + e + '_f.npy', n.asfortranarray(a))\n"
    "        for m in 2, 3:\n"
    "            with open('np_' + e + '_v%d.npy' % m, 'wb') as f: n.lib.format.write_array(f, a, version=(m, 0))\n"
    "n.savez('np_stored.npz', **both)\n"
    "n.savez_compressed('np_packed.npz', **both)\n"
    "n.savez('np_one.npz', both['f4le'])\n"
    "n.save('np_objects.npy', n.array([{}, 1], dtype=object))\n"
    "n.save('np_fields.npy', n.zeros(3, dtype=[('a', '<f4'), ('b', '<i4')]))\n"
    "n.save('np_text.npy', n.array(['a', 'bc']))\n"
    "n.save('np_scalar.npy', n.float32(1))\n"
    "n.save('np_long.npy', n.zeros(3, dtype=n.longdouble))\n";

static bool run_numpy(void) {
    char command[900];
    file_write("make.py", script, sizeof script - 1);
    snprintf(command, sizeof command,
             "cd '%s' && env -u LD_PRELOAD OPENBLAS_NUM_THREADS=1 sh -c '/usr/bin/python3 -c \"import numpy\" "
             "2>/dev/null || exit 9; exec /usr/bin/python3 make.py'",
             check_tmpdir());
    int result = system(command);
    bool absent = WIFEXITED(result) && WEXITSTATUS(result) == 9;
    if (absent) fprintf(stderr, "NumPy is not installed: its own files are not tested\n");
    CHECK(absent || result == 0);
    return result == 0;
}

static void numpy_files(void) {
    static const char *const forms[] = {"c", "f", "v2", "v3"};
    if (!run_numpy()) return;
    for (int t = 0; t < TYPES; t++)
        for (int big = 0; big < 2; big++) {
            char array[16], name[40];
            snprintf(array, sizeof array, "%s%s", types[t].name, big ? "be" : "le");
            for (int i = 0; i < 4; i++) {
                snprintf(name, sizeof name, "np_%s_%s.npy", array, forms[i]);
                check_array(name, NULL, &types[t]);
            }
            check_array("np_stored.npz", array, &types[t]);
            check_array("np_packed.npz", array, &types[t]);
        }
    check_array("np_one.npz", NULL, &types[10]);
    check_array("np_one.npz", "arr_0", &types[10]);
    refuse("np_packed.npz", "none", DPT_ERR_CONFIG, "it holds b1le, b1be, u1le");
    refuse("np_objects.npy", NULL, DPT_ERR_UNSUPPORTED, "Python objects: a pickle");
    refuse("np_fields.npy", NULL, DPT_ERR_UNSUPPORTED, "structured elements");
    refuse("np_text.npy", NULL, DPT_ERR_UNSUPPORTED, "(strings)");
    refuse("np_scalar.npy", NULL, DPT_ERR_DATA, "a single value");
    refuse("np_long.npy", NULL, DPT_ERR_UNSUPPORTED, "(floats of this width)");
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "import_npy", {"every_type", every_type}, {"header_forms", header_forms},
                      {"refused_headers", refused_headers}, {"mutated_headers", mutated_headers},
                      {"bad_files", bad_files}, {"bad_values", bad_values}, {"truncations", truncations},
                      {"flipped_bytes", flipped_bytes}, {"archives", archives}, {"lying_archives", lying_archives},
                      {"long_arrays", long_arrays}, {"fortran_blocks", fortran_blocks}, {"large_counts", large_counts},
                      {"out_of_memory", out_of_memory}, {"numpy_files", numpy_files});
}
