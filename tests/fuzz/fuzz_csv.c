/* fuzz_csv.c: tables of text: separators, quotes, headers, line ends. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

/* Opens it twice, the second time with the notes of the first, as ranks do. */
static dpt_status open_again(const dpt_import_source *source, dpt_import_stream *stream) {
    DPT_TRY(dpt_import_open_table(source, stream));
    const int64_t bytes = stream->notes_bytes;
    void *notes = malloc((size_t)bytes);
    if (notes == NULL) abort();
    memcpy(notes, stream->notes, (size_t)bytes);
    stream->close(stream);
    dpt_status status = dpt_import_reopen_table(source, notes, bytes, stream);
    free(notes);
    return status == DPT_OK ? stream->seek(stream, 0) : status;
}

dpt_status dpt_fuzz_csv(const uint8_t *bytes, size_t size) {
    const dpt_status status = fuzz_read_stream(dpt_import_open_table, NULL, bytes, size);
    if (fuzz_read_stream(open_again, NULL, bytes, size) != status) abort();
    if (status == DPT_OK && fuzz_read_stream(open_again, "1:f64:nan", bytes, size) != DPT_OK) abort();
    return status;
}

static void seed(fuzz_seeds *seeds) {
    static const char *const text[] = {
        "1,2,3\n4,5,6\n7.5,-8e3,.25\n",
        "a,b\r\n1,2\r\n3,4\r\n",
        "x\ty\tz\n1e-30\t2\t12345678901234567890\n4\t5\t6",
        "\"first, one\",\"second \"\"two\"\"\"\n\"1\", 2\n\" 3\",\"4 \"\n",
        "1\n2\n3\n4\n5\n6\n7\n8\n9\n0\n",
        "# t x\n 1  2.5 \n3   \"-4\" \r\n5 6",
        "\357\273\277a\n1\n",
        "a,b,c\n0.1,1e30,3\n0.30000000000000004,4,-0\n",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) fuzz_add_seed(seeds, text[i], strlen(text[i]));
}

const fuzz_target fuzz_this = {.name = "csv", .inputs = 30000, .run = dpt_fuzz_csv, .seed = seed};
