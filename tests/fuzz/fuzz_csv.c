/* fuzz_csv.c: tables of text: separators, quotes, headers, line ends. */
#include <string.h>

#include "fuzz.h"

dpt_status dpt_fuzz_csv(const uint8_t *bytes, size_t size) {
    return fuzz_read_stream(dpt_import_open_table, NULL, bytes, size);
}

static void seed(fuzz_seeds *seeds) {
    static const char *const text[] = {
        "1,2,3\n4,5,6\n7.5,-8e3,.25\n",
        "a,b\r\n1,2\r\n3,4\r\n",
        "x\ty\tz\n1e-30\t2\t12345678901234567890\n4\t5\t6",
        "\"first, one\",\"second \"\"two\"\"\"\n\"1\", 2\n\" 3\",\"4 \"\n",
        "1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n",
        "# t x\n 1  2.5 \n3   \"-4\" \r\n5 6",
        "a,b,c\n0.1,1e30,3\n0.30000000000000004,4,-0\n",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) fuzz_add_seed(seeds, text[i], strlen(text[i]));
}

const fuzz_target fuzz_this = {.name = "csv", .inputs = 30000, .run = dpt_fuzz_csv, .seed = seed};
