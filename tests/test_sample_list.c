/* Lists of samples: what a line may say, and each error with its file and line. */
#include "data/sample_list.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "check.h"

static const char *write_list(const char *text, size_t bytes) {
    static char path[400];
    snprintf(path, sizeof path, "%s/list.txt", check_tmpdir());
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(text, 1, bytes, file) == bytes && fclose(file) == 0);
    return path;
}

static void reads(void) {
    const char text[] =
        "\xEF\xBB\xBF# of the second run\n"
        "17\n\n  3 # noisy\r\n100-102\n 7 - 9\t\n0-0\n"
        "# a comment may be as long as it likes: "
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "\n000499";
    const uint64_t wanted[] = {0, 3, 7, 8, 9, 17, 100, 101, 102, 499};
    dpt_selection *list;
    if (!CHECK_OK(dpt_sample_list_read(write_list(text, sizeof text - 1), 500, &list))) return;
    if (!CHECK_OK(dpt_selection_seal(list))) return;
    CHECK_EQ_I64(dpt_selection_rows(list), 10);
    for (uint64_t k = 0; k < 10; k++) CHECK_EQ_I64(dpt_selection_sample(list, k), wanted[k]);
    dpt_selection_destroy(&list);
    CHECK_OK(dpt_sample_list_read(write_list("# none\n", 7), 500, &list));
    CHECK(list && dpt_selection_common(list, list) == 0);
    dpt_selection_destroy(&list);
}

static void names_line(void) {
    static const struct {
        const char *text, *message;
    } wrong[] = {
        {"1\n2\nx\n", "list.txt, line 3: \"x\" is no number of a sample and no range (such as 17 or 100-199)"},
        {"1 2\n", "line 1: \"1 2\" is no number"},
        {"5-\n", "line 1: \"5-\" is no number"},
        {"-5\n", "line 1: \"-5\" is no number"},
        {"1-2-3\n", "line 1: \"1-2-3\" is no number"},
        {"1.5\n", "line 1: \"1.5\" is no number"},
        {"1,2\n", "line 1: \"1,2\" is no number"},
        {"18446744073709551616\n", "line 1: \"18446744073709551616\" is no number"},
        {"99999999999999999999\n", "is no number"},
        {"18446744073709551615\n", "line 1: sample 18446744073709551615: the dataset has 500, from 0 on"},
        {"0-18446744073709551615\n", "line 1: sample 18446744073709551615: the dataset has 500"},
        {"\n499\n500", "line 3: sample 500: the dataset has 500, from 0 on"},
        {"400-600\n", "line 1: sample 600: the dataset has 500"},
        {"9-8\n", "line 1: the range 9-8 ends before it starts"},
        {"5-7\n8\n6 # again\n", "line 3: sample 6 stands in this list already; name each once"},
        {"3\n0-4\n", "line 2: sample 3 stands in this list already"},
    };
    dpt_selection *list;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_FAILS(dpt_sample_list_read(write_list(wrong[i].text, strlen(wrong[i].text)), 500, &list), DPT_ERR_DATA,
                    wrong[i].message);
    CHECK_FAILS(dpt_sample_list_read(write_list("1\0002\n", 4), 500, &list), DPT_ERR_DATA, "line 1: \"1?2\" is no");
    char longer[1000];
    memset(longer, '1', sizeof longer);
    CHECK_FAILS(dpt_sample_list_read(write_list(longer, sizeof longer), 500, &list), DPT_ERR_DATA,
                "line 1: \"1111111111111111111111111111111111111111...\" is no number");
    CHECK_FAILS(dpt_sample_list_read("/nowhere/list.txt", 500, &list), DPT_ERR_IO,
                "/nowhere/list.txt: No such file or directory");
    CHECK_FAILS(dpt_sample_list_read(check_tmpdir(), 500, &list), DPT_ERR_IO, "Is a directory");
    CHECK(list == NULL);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "sample_list", {"reads", reads}, {"names_line", names_line});
}
