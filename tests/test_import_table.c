/* CSV and TSV: values by formula in every dress the format knows, columns by number and name, numbers against the C
 * library, each wrong row by its line, a piece's end at every byte, and files that are cut or changed anywhere. */
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "data/decimal.h"
#include "data/import.h"
#include "data_files.h"

enum { BUFFER_BYTES = 256 << 10, MOST_VALUES = 4096 };

static void write_bytes(const char *name, const char *text, size_t bytes) {
    gzFile f = gzopen(file_path(name), strstr(name, ".gz") ? "wb1" : "wbT");
    CHECK(f != NULL && (bytes == 0 || gzwrite(f, text, (unsigned)bytes) == (int)bytes));
    gzclose(f);
}

static void write_text(const char *name, const char *text) { write_bytes(name, text, strlen(text)); }

/* Opens and reads a whole table, `at_once` rows a call. */
static dpt_status read_table(const char *name, const char *part, int64_t at_once, dpt_import_stream *stream,
                             void *values) {
    dpt_import_source source = {"/x", file_path(name), part};
    int64_t row = 0, got;
    DPT_TRY(dpt_import_open_table(&source, stream));
    dpt_status status = DPT_OK;
    CHECK(stream->dim[0] * stream->row_bytes <= MOST_VALUES * 8);
    do {
        status = stream->read(stream, at_once, (char *)values + row * stream->row_bytes, &got);
        row += status == DPT_OK ? got : 0;
    } while (status == DPT_OK && got == at_once);
    if (status == DPT_OK) CHECK_EQ_I64(row, stream->dim[0]);
    stream->close(stream);
    return status;
}

/* ---- values ---- */

enum { ROWS = 37, COLUMNS = 5 };
static double value_at(int64_t row, int64_t column) { return (double)(row * 31 - column * 97) / 8; }

static char *append_row(char *to, int64_t row, char separator, bool quotes, const char *end) {
    for (int64_t c = 0; c < COLUMNS; c++) {
        const char *q = quotes && (row + c) % 3 == 0 ? "\"" : "";
        to += sprintf(to, "%s%.3f%s", q, value_at(row, c), q);
        if (c < COLUMNS - 1) *to++ = separator;
    }
    return to + sprintf(to, "%s", end);
}

/* In every dress: separator, line ends, quotes, header, mark, empty lines behind, no end of the last line, gzip. */
static void every_dress(void) {
    static const struct {
        const char *name;
        char separator;
    } kinds[] = {{"a.csv", ','}, {"a.csv.gz", ','}, {"a.tsv", '\t'}, {"a.txt", '\t'}, {"a.txt", ';'}, {"a.csv", ';'}};
    static char text[20000];
    float values[ROWS * COLUMNS];
    dpt_import_stream s;
    for (int i = 0; i < 6 * 64; i++) {
        int bits = i / 6, wrong = 0;
        const char *end = bits & 1 ? "\r\n" : "\n";
        char separator = kinds[i % 6].separator, *to = text;
        if (bits & 2) to += sprintf(to, "\xEF\xBB\xBF");
        if (bits & 4)
            to += sprintf(to, "a%c\"b\"\"%c\n c\"%cd%c%cf g%s", separator, separator, separator, separator, separator,
                          end);
        for (int64_t r = 0; r < ROWS; r++) to = append_row(to, r, separator, bits & 8, end);
        if (bits & 16) to -= strlen(end);
        if (bits & 32) to += sprintf(to, "%s%s", end, end);
        write_bytes(kinds[i % 6].name, text, (size_t)(to - text));
        if (!CHECK_OK(read_table(kinds[i % 6].name, NULL, 10, &s, values))) continue;
        CHECK(s.dtype == DPT_F32 && s.ndim == 2 && s.dim[0] == ROWS && s.dim[1] == COLUMNS);
        for (int64_t k = 0; k < ROWS * COLUMNS; k++) wrong += values[k] != (float)value_at(k / COLUMNS, k % COLUMNS);
        check_that(wrong == 0, __FILE__, __LINE__, "%d values are wrong of %s with %d", wrong, kinds[i % 6].name, bits);
    }
}

static void write_formula(const char *name, const char *header) {
    static char text[20000];
    char *to = text + sprintf(text, "%s", header);
    for (int64_t r = 0; r < ROWS; r++) to = append_row(to, r, ',', false, "\n");
    write_bytes(name, text, (size_t)(to - text));
}

/* Columns by number, range and name, in the order asked for; one column alone has no axis, a range keeps it. */
static void columns(void) {
    static const struct {
        const char *part;
        int ndim, chosen, column[COLUMNS];
    } cases[] = {{"", 2, 5, {0, 1, 2, 3, 4}},
                 {"1-5", 2, 5, {0, 1, 2, 3, 4}},
                 {"3", 1, 1, {2}},
                 {"3-3", 2, 1, {2}},
                 {"5,1", 2, 2, {4, 0}},
                 {"4-5,1-2", 2, 4, {3, 4, 0, 1}},
                 {"p", 1, 1, {0}},
                 {"T wall,p", 2, 2, {3, 0}},
                 {"u-v,2", 2, 2, {2, 1}},
                 {"a:b", 1, 1, {4}},
                 {"a:b:f32", 1, 1, {4}},
                 {"2:nan", 1, 1, {1}}};
    dpt_import_stream s;
    float values[ROWS * COLUMNS];
    write_formula("named.csv", "p,q, u-v ,T wall,a:b\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = cases[i].chosen, wrong = 0;
        if (!CHECK_OK(read_table("named.csv", cases[i].part, 1000, &s, values))) continue;
        CHECK(s.ndim == cases[i].ndim && s.dim[0] == ROWS && s.dim[1] == n && s.row_bytes == 4 * n);
        for (int k = 0; k < ROWS * n; k++) wrong += values[k] != (float)value_at(k / n, cases[i].column[k % n]);
        check_that(wrong == 0, __FILE__, __LINE__, "%d values are wrong of #%s", wrong, cases[i].part);
    }
}

/* Text is passed over, with all that may stand in quotes. */
static void types(void) {
    dpt_import_stream s;
    double d[8];
    int64_t l[8];
    float f[9];
    write_text("types.csv",
               "name,count,\"x\"\n\"a, \"\"b\"\"\n\nc\",-9223372036854775808,0.1\n,9223372036854775807, 1e300 "
               "\nz,+7,\"-.5\"\n");
    if (CHECK_OK(read_table("types.csv", "count:i64", 1, &s, l)))
        CHECK(s.dtype == DPT_I64 && s.ndim == 1 && s.dim[0] == 3 && l[0] == INT64_MIN && l[1] == INT64_MAX &&
              l[2] == 7);
    if (CHECK_OK(read_table("types.csv", "x:f64", 2, &s, d)))
        CHECK(s.dtype == DPT_F64 && d[0] == 0.1 && d[1] == 1e300 && d[2] == -.5);
    write_text("nan.csv", "1,,2\n-inf,NaN,3\n\"\",+Infinity,nan\n");
    if (CHECK_OK(read_table("nan.csv", ":nan", 2, &s, f)))
        CHECK(f[0] == 1 && isnan(f[1]) && f[2] == 2 && f[3] == -INFINITY && isnan(f[4]) && f[5] == 3 && isnan(f[6]) &&
              f[7] == INFINITY && isnan(f[8]));
    write_text("names.csv", "\"a \"\"b\"\"\",c\n1,x;y\tz\n"); /* what separates is known by the first row alone */
    if (CHECK_OK(read_table("names.csv", "a \"b\":f64", 9, &s, d))) CHECK(s.dim[0] == 1 && d[0] == 1);
    write_text("one.csv", "label\n3\n1\n");
    if (CHECK_OK(read_table("one.csv", NULL, 9, &s, f))) CHECK(s.ndim == 1 && f[0] == 3 && f[1] == 1);
}

/* Columns that runs of blanks separate, as savetxt and Fortran write them, with and without a header. */
static void blanks(void) {
    static const char *const dress[] = {"1.5 -2e1 3\n4 5 60\n",
                                        "  1.5   -2e1 3\n  4  5     60\n",
                                        "1.5 -2e1 3  \r\n4 5 60 \r\n",
                                        "# t x wall\n1.5 -2e1 3\n4 5 60",
                                        "#t   x wall \n \"1.5\"  -2e1 3\n4 5 \"60\" ",
                                        "t x  wall\r\n1.5 -2e1 3\r\n4 5 60\r\n"};
    static const float expected[] = {1.5F, -20, 3, 4, 5, 60};
    dpt_import_stream s;
    float values[6];
    for (size_t i = 0; i < sizeof dress / sizeof *dress; i++) {
        write_text("blanks.txt", dress[i]);
        if (!CHECK_OK(read_table("blanks.txt", NULL, 9, &s, values))) continue;
        CHECK(s.ndim == 2 && s.dim[0] == 2 && s.dim[1] == 3 && memcmp(values, expected, sizeof expected) == 0);
        if (i < 3) continue;
        CHECK_OK(read_table("blanks.txt", "wall", 9, &s, values));
        CHECK(s.ndim == 1 && values[0] == 3 && values[1] == 60);
    }
    write_text("blanks.txt", "1 2 3\n4  5\n");
    CHECK_FAILS(read_table("blanks.txt", NULL, 9, &s, values), DPT_ERR_DATA, "line 2: 2 fields, the first line has 3");
    write_text("blanks.txt", "1 2\n4 5 6 \n");
    CHECK_FAILS(read_table("blanks.txt", NULL, 9, &s, values), DPT_ERR_DATA, "line 2: 3 fields, the first line has 2");
    write_text("comment.csv", "# 1,b\n5,6\n"); /* a name may be a number where # says that it is a name */
    if (CHECK_OK(read_table("comment.csv", "b", 9, &s, values))) CHECK(s.dim[0] == 1 && values[0] == 6);
    write_text("sentence.csv", "mass in kg\n7\n"); /* the name promises commas */
    if (CHECK_OK(read_table("sentence.csv", "mass in kg", 9, &s, values))) CHECK(s.dim[0] == 1 && values[0] == 7);
}

/* ---- numbers ---- */

static int wrong_numbers;

static void check_number(const char *text) {
    char line[420];
    dpt_decimal n;
    snprintf(line, sizeof line, "%s\n", text);
    float f = 0, f_right = strtof(line, NULL);
    double d = 0, d_right = strtod(line, NULL);
    const char *end = dpt_decimal_scan(line, &n);
    bool right = end == line + strlen(text);
    if (right && !dpt_decimal_f32(&n, &f)) f = dpt_decimal_exact_f32(line);
    if (right && !dpt_decimal_f64(&n, &d)) d = dpt_decimal_exact_f64(line);
    right = right && memcmp(&f, &f_right, sizeof f) == 0 && memcmp(&d, &d_right, sizeof d) == 0;
    if (!right && wrong_numbers++ < 5) fprintf(stderr, "%s is read as %.9g and %.17g\n", text, (double)f, d);
}

/* Of f32's and f64's whole range, and around f32's: at the middle of two floats, a little beside it. */
static void rounds_once(void) {
    enum { NUMBERS = CHECK_IS_SLOW ? 2000 : 20000 };
    char text[400];
    setlocale(LC_ALL, "C");
    for (uint64_t i = 0; i < NUMBERS; i++) {
        dpt_random4 r = dpt_random_quad(dpt_random_key("numbers", 1), 0, i, 0);
        uint64_t bits = (uint64_t)r.v[0] << 32 | r.v[1];
        double d;
        float f;
        memcpy(&d, &bits, sizeof d);
        memcpy(&f, &r.v[2], sizeof f);
        int digits = (int)(r.v[3] % 22);
        if (isfinite(d)) snprintf(text, sizeof text, "%.*e", digits, d), check_number(text);
        if (!isfinite(f)) continue;
        snprintf(text, sizeof text, "%.*e", digits, (double)f), check_number(text);
        snprintf(text, sizeof text, "%.*g", digits, (double)f), check_number(text);
        double middle = ((double)f + (double)nextafterf(f, INFINITY)) / 2;
        snprintf(text, sizeof text, "%.17g", middle), check_number(text);
        snprintf(text, sizeof text, "%.*g", 16 + digits % 5, middle), check_number(text);
        snprintf(text, sizeof text, "%.17g", nextafter(middle, INFINITY)), check_number(text);
        snprintf(text, sizeof text, "%.3f", (double)(int32_t)r.v[0] / 1e3), check_number(text);
    }
    static const char *const special[] = {"0",
                                          "-0",
                                          "0.0",
                                          "-0e9999",
                                          "1e-46",
                                          "1e-45",
                                          "7e-46",
                                          "1.17549435e-38",
                                          "1.17549429e-38",
                                          "3.4028235e38",
                                          "3.4028235677973366e38",
                                          "3.40282356779733661637e38",
                                          "3.5e38",
                                          "1e999999999999999999999",
                                          "1e-999999",
                                          "16777217",
                                          "16777219",
                                          "9007199254740993",
                                          "9007199254740992",
                                          "18446744073709551615",
                                          "99999999999999999999",
                                          "0.000000000000000000000000000000000000000000000001e48",
                                          "5.e1",
                                          ".5",
                                          "+5E+1",
                                          "00000000000000000000000012",
                                          "8.5899345919999999999",
                                          "1.00000005960464477540",
                                          "1.000000059604644775390625",
                                          "1.0000000596046447753"};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) check_number(special[i]);
    CHECK_EQ_I64(wrong_numbers, 0);
    static const char *const none[] = {"", "+", "-", ".", "e5", "1e", "1e+", "-.e1", " 1", "x"};
    dpt_decimal n;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        snprintf(text, sizeof text, "%s\n", none[i]);
        check_that(dpt_decimal_scan(text, &n) == NULL, __FILE__, __LINE__, "\"%s\" is taken for a number", none[i]);
    }
    static const char *const longer[] = {"1,5", "0x10", "1 2", "1..2", "1e5.0", "1d5", "12_000", "1f"};
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++) {
        snprintf(text, sizeof text, "%s\n", longer[i]);
        const char *end = dpt_decimal_scan(text, &n);
        check_that(end && *end != '\n', __FILE__, __LINE__, "all of \"%s\" is taken for a number", longer[i]);
    }
}

/* ---- what is wrong ---- */

static void bad_rows(void) {
    static const struct {
        const char *text, *part;
        dpt_status status;
        const char *message;
    } cases[] = {
        {"1,2\n3\n", NULL, DPT_ERR_DATA, "bad.csv: line 2: 1 field, the first line has 2"},
        {"1,2\n3,4,5\n", NULL, DPT_ERR_DATA, "bad.csv: line 2: 3 fields, the first line has 2"},
        {"a,b\n1,2\n3,4,\n", "1", DPT_ERR_DATA, "bad.csv: line 3: 3 fields, the first line has 2"},
        {"a,b\n1,2\n3\n", "1", DPT_ERR_DATA, "bad.csv: line 3: 1 field, the first line has 2"},
        {"a,b\n\"x\n\ny\",2\n3\n", "b", DPT_ERR_DATA, "bad.csv: line 5: 1 field, the first line has 2"},
        {"1,2\n\n3,4\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 1: empty"},
        {"\n1,2\n", NULL, DPT_ERR_DATA, "bad.csv: line 1, column 1: empty"},
        {"x,y\n1,2\n3,b\n", NULL, DPT_ERR_DATA, "bad.csv: line 3, column 2 (y): \"b\" is not a number"},
        {"1,2\r\n3,4 5\r\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 2: \"4 5\" is not a number"},
        {"1;2,5\n", NULL, DPT_ERR_DATA, "bad.csv: line 1, column 2: \"2,5\" is not a number"},
        {"1,2\n3,\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 2: empty"},
        {"1,2\n  ,4\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 1: empty"},
        {"1,2\nnan,4\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 1: \"nan\" is not finite"},
        {"1,2\n3,-inf\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 2: \"-inf\" is not finite"},
        {"1,2\n3,1e39\n", NULL, DPT_ERR_DATA, "\"1e39\" is too large for f32"},
        {"1,2\n3,-1e309\n", ":f64", DPT_ERR_DATA, "\"-1e309\" is too large"},
        {"1,2\n3,9223372036854775808\n", ":i64", DPT_ERR_DATA, "\"9223372036854775808\" is not within 64 bits"},
        {"1,2\n3,4.0\n", ":i64", DPT_ERR_DATA, "\"4.0\" is not an integer"},
        {"1,2\n3,0x10\n", NULL, DPT_ERR_DATA, "\"0x10\" is not a number"},
        {"1,2\n3,4\r5\n", NULL, DPT_ERR_DATA, "\"4?5\" is not a number"},
        {"1,2\n\"3,4\n5,6\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 1: a double quote is not closed"},
        {"1,2\n3\",4\n\",6\n", NULL, DPT_ERR_DATA, "bad.csv: line 2, column 1: a double quote inside of a field"},
        {"1,2\n\"3\"4,5\n", NULL, DPT_ERR_DATA, "line 2, column 1: text after the closing double quote"},
        {"a,b\n1,x\"\n\"", "1", DPT_ERR_DATA, "bad.csv: line 2, column 2 (b): a double quote inside of a field"},
        {"a,\"b\n1,2\n", NULL, DPT_ERR_DATA, "bad.csv: line 1, column 2: a double quote is not closed"},
        {"", NULL, DPT_ERR_DATA, "bad.csv: holds no rows"},
        {"\n\r\n\n", NULL, DPT_ERR_DATA, "bad.csv: holds no rows"},
        {"\xEF\xBB\xBF", NULL, DPT_ERR_DATA, "bad.csv: line 1, column 1: empty"},
        {"a,b\n", NULL, DPT_ERR_DATA, "bad.csv: holds no rows but its header"},
        {"1,2\n", "3", DPT_ERR_CONFIG, "bad.csv: no column \"3\"; there are 1 to 2, without names"},
        {"a,b\n1,2\n", "c", DPT_ERR_CONFIG, "bad.csv: no column \"c\"; there are 1 to 2: a, b"},
        {"a,b\n1,2\n", "0", DPT_ERR_CONFIG, "no column \"0\""},
        {"a,b\n1,2\n", "2-1", DPT_ERR_CONFIG, "no column \"2-1\""},
        {"a,b\n1,2\n", "1-", DPT_ERR_CONFIG, "no column \"1-\""},
        {"a,b\n1,2\n", "1,", DPT_ERR_CONFIG, "no column \"\""},
        {"a,b\n1,2\n", "99999999999999999999", DPT_ERR_CONFIG, "no column"},
        {"a,b\n1,2\n", "1-2,b", DPT_ERR_CONFIG, "column 2 is asked for twice"},
        {"a,a\n1,2\n", "a", DPT_ERR_CONFIG, "columns 1 and 2 are both named \"a\""},
        {"a,b\n1,2\n", "1:u8", DPT_ERR_UNSUPPORTED, "f32, f64 or i64, not u8"},
        {"a,b\n1,2\n", "1:nan:i64", DPT_ERR_CONFIG, "i64 has no NaN"}};
    dpt_import_stream stream;
    char values[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("bad.csv", cases[i].text);
        CHECK_FAILS(read_table("bad.csv", cases[i].part, 1 + (int64_t)i % 2, &stream, values), cases[i].status,
                    cases[i].message);
        dpt_import_source source = {"/x", file_path("bad.csv"), cases[i].part};
        CHECK(dpt_import_files(&source, 1, file_path("bad.h5")) == cases[i].status);
        CHECK(access(file_path("bad.h5"), F_OK) != 0);
    }
}

/* A quote that is never closed takes in no more than 64 MiB of what follows. */
static void endless_row(void) {
    dpt_import_stream stream;
    write_text("endless.csv", "1\n2\n\"3");
    CHECK(truncate(file_path("endless.csv"), (off_t)200 << 20) == 0);
    CHECK_FAILS(read_table("endless.csv", NULL, 1, &stream, &(int64_t){0}), DPT_ERR_DATA,
                "endless.csv: line 3: no end of the row within 64 MiB");
}

typedef struct changed_file {
    const char *path;
    long bytes;
    bool more;
} changed_file;

/* While the first piece is written the file gets shorter, or longer. */
static void change_file(void *user, const dpt_import_progress *now) {
    changed_file *change = user;
    if (now->rows == now->all_rows || change->path == NULL) return;
    if (change->more) {
        FILE *f = fopen(change->path, "a");
        fputs("7\n", f);
        fclose(f);
    } else {
        CHECK(truncate(change->path, change->bytes) == 0);
    }
    change->path = NULL;
}

static void changed_meanwhile(void) {
    enum { LINES = 800000 };
    char *text = malloc(2 * LINES);
    for (int i = 0; i < LINES; i++) memcpy(text + 2 * i, "5\n", 2);
    for (int more = 0; more < 2; more++) {
        write_bytes("change.csv", text, 2 * LINES);
        dpt_import_source source = {"/x", file_path("change.csv"), NULL};
        changed_file change = {source.file, 2 * LINES - 20, more == 1};
        CHECK_FAILS(dpt_import_files_with(&(dpt_import_options){.watch = change_file, .user = &change}, &source, 1,
                                          file_path("change.h5")),
                    DPT_ERR_DATA,
                    more ? "line 800001: more rows than were counted" : "ends after 799990 of its 800000 rows");
        CHECK(change.path == NULL && access(file_path("change.h5"), F_OK) != 0);
    }
    free(text);
}

/* ---- ends of pieces ---- */

/* A header as long as a piece, less a few bytes, puts the end of the first piece at every byte of what follows. */
static void piece_ends(void) {
    static const char rows[] = "1.5,\"x\ny\",-2e1\r\n\"3\",\"a\"\"b\",4\r\n-5,,\"60\"\r\n";
    static const float expected[] = {1.5F, -20, 3, 4, -5, 60};
    static char text[BUFFER_BYTES + sizeof rows];
    const size_t bytes = sizeof rows - 1;
    dpt_import_stream s;
    for (size_t before = 0; before <= bytes + 1; before++) {
        size_t header = BUFFER_BYTES - before;
        float values[6];
        memset(text, 'h', header);
        memcpy(text + header - 5, ",b,c\n", 5);
        memcpy(text + header, rows, bytes);
        write_bytes("piece.csv", text, header + bytes);
        if (!CHECK_OK(read_table("piece.csv", "1,3", 2, &s, values))) continue;
        check_that(s.dim[0] == 3 && memcmp(values, expected, sizeof expected) == 0, __FILE__, __LINE__,
                   "the end of a piece behind %zu bytes", before);
    }
}

/* A row that is longer than a piece. */
static void long_row(void) {
    enum { WIDE = 200000 };
    char *text = malloc(2 * WIDE * 2 + 1), *to = text;
    for (int k = 0; k < 2 * WIDE; k++) to += sprintf(to, "%d%c", k % 7, k % WIDE == WIDE - 1 ? '\n' : ',');
    write_bytes("wide.csv", text, (size_t)(to - text));
    free(text);
    dpt_import_source source = {"/wide", file_path("wide.csv"), NULL};
    CHECK_OK(dpt_import_files(&source, 1, file_path("wide.h5")));
    float *values = malloc(2 * WIDE * sizeof *values);
    hid_t file = H5Fopen(file_path("wide.h5"), H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "/wide", H5P_DEFAULT);
    CHECK(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    int wrong = 0;
    for (int k = 0; k < 2 * WIDE; k++) wrong += values[k] != (float)(k % 7);
    CHECK_EQ_I64(wrong, 0);
    H5Dclose(set);
    H5Fclose(file);
    free(values);
    check_nothing_open();
}

/* Cut at every byte, and with every byte changed to each that means something: an answer, never a fault (which the
 * sanitizers would see), and the same answer whatever the number of rows a call. */
static void cut_and_changed_file(const char *name, const char *text) {
    static const char bytes[] = "\",\n\r;\t-.e9#\0 ";
    const size_t n = strlen(text);
    char copy[100];
    dpt_import_stream s;
    int good = 0, tried = 0;
    for (size_t at = 0; at <= n; at++) {
        for (size_t b = 0; b < sizeof bytes; b++) {
            float one[100] = {0}, other[100] = {0};
            memcpy(copy, text, n);
            if (b < sizeof bytes - 1 && at < n) copy[at] = bytes[b];
            write_bytes(name, copy, b < sizeof bytes - 1 ? n : at);
            dpt_status first = read_table(name, "1:nan", 1, &s, one);
            CHECK(first == DPT_OK || first == DPT_ERR_DATA || first == DPT_ERR_CONFIG);
            CHECK(read_table(name, "1:nan", 9, &s, other) == first);
            if (first == DPT_OK) CHECK(memcmp(one, other, sizeof one) == 0);
            good += first == DPT_OK;
            tried++;
        }
    }
    CHECK(good > tried / 10 && good < tried * 9 / 10);
}

static void cut_and_changed(void) {
    cut_and_changed_file("cut.csv", "a,\"b \"\"c\",d\r\n1,\"x\n\",-2.5e1\r\n3,y,\"4\"\n,,\n5e-3,\"\",6");
    cut_and_changed_file("cut.txt", "# a  b c\n 1 \"x \n\"  -2.5e1 \r\n3  y \"4\"\nnan - 5\n");
}

static void out_of_memory(void) {
    dpt_import_stream s;
    float values[ROWS * COLUMNS];
    int failures = 0;
    for (int64_t n = 1; n < 50; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = read_table("named.csv", "p,T wall", 9, &s, values);
        dpt_alloc_fail_at(0);
        if (status == DPT_OK) break;
        CHECK(status == DPT_ERR_MEMORY);
        failures++;
    }
    CHECK(failures > 8 && failures < 49);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "import_table", {"every_dress", every_dress}, {"columns", columns}, {"types", types},
                      {"blanks", blanks}, {"rounds_once", rounds_once}, {"bad_rows", bad_rows},
                      {"endless_row", endless_row}, {"changed_meanwhile", changed_meanwhile},
                      {"piece_ends", piece_ends}, {"long_row", long_row}, {"cut_and_changed", cut_and_changed},
                      {"out_of_memory", out_of_memory});
}
