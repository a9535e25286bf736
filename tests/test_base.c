/* test_base.c: the base layer: messages, allocation, digests, random numbers against published answers, text,
 * files that are written whole or not at all. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "check.h"
#include "dptrain/types.h"

static void errors(void) {
    CHECK_FAILS(dpt_error(DPT_ERR_SHAPE, "matmul \"%s\": %d", "fc2", 63), DPT_ERR_SHAPE, "matmul \"fc2\": 63");
    CHECK_FAILS(dpt_error_prefix(DPT_ERR_SHAPE, "rank %d: ", 3), DPT_ERR_SHAPE, "rank 3: matmul \"fc2\": 63");
    CHECK_FAILS(dpt_error(DPT_ERR_IO, "again: %s", dpt_last_error()), DPT_ERR_IO, "again: rank 3: matmul");
    CHECK_EQ_TEXT(dpt_status_text(DPT_ERR_DATA), "invalid data");
    CHECK_EQ_TEXT(dpt_status_text((dpt_status)999), "unknown status");
}

static void *fail_on_thread(void *unused) {
    dpt_error(DPT_ERR_IO, "of another thread");
    return unused;
}

static void errors_are_of_the_thread(void) {
    pthread_t thread;
    dpt_error(DPT_ERR_ARG, "mine");
    CHECK(pthread_create(&thread, NULL, fail_on_thread, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK_EQ_TEXT(dpt_last_error(), "mine");
}

static void allocation(void) {
    int64_t before = dpt_alloc_count();
    dpt_alloc_fail_at(2);
    void *first = dpt_alloc(8), *second = dpt_alloc(8), *third = dpt_alloc(0);
    CHECK(first != NULL && second == NULL && third != NULL);
    CHECK_EQ_I64(dpt_alloc_count() - before, 3);
    CHECK(dpt_realloc(first, SIZE_MAX / 2, 16) == NULL); /* overflows; first stays */
    char *zero = dpt_alloc_zero(3, 5);
    for (int i = 0; zero && i < 15; i++) CHECK_EQ_I64(zero[i], 0);
    char *aligned = dpt_alloc_aligned(10, 256);
    CHECK_EQ_I64((uintptr_t)aligned % 256, 0);
    char *text = dpt_format("%s-%d", "a", 7), *copy = dpt_strdup(text);
    CHECK_EQ_TEXT(copy, "a-7");
    CHECK(dpt_strdup(NULL) == NULL);
    void *all[] = {first, third, zero, aligned, text, copy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) dpt_free(all[i]);
}

/* Random123's kat_vectors: philox4x32 10. */
static void philox_known_answers(void) {
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                 {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                 {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                  {0xa4093822, 0x299f31d0},
                  {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint64_t key = known[i].key[0] | (uint64_t)known[i].key[1] << 32;
        const uint32_t *c = known[i].counter;
        dpt_random4 r = dpt_philox(key, c[0], c[1], c[2], c[3]);
        for (int k = 0; k < 4; k++) CHECK_EQ_I64(r.v[k], known[i].answer[k]);
        dpt_random4 q = dpt_random_quad(key, c[0], c[1] | (uint64_t)c[2] << 32, c[3]);
        CHECK(memcmp(&q, &r, sizeof q) == 0);
    }
}

/* xxHash's specification: XXH64 of nothing, seed 0; of "a". */
static void hashes(void) {
    CHECK(dpt_hash("", 0, 0) == 0xef46db3751d8e999ull);
    CHECK(dpt_hash("a", 1, 0) == 0xd24ec4f1a98c6e5bull);
    CHECK(dpt_random_key("a", 0) == 0xd24ec4f1a98c6e5bull);
    CHECK(dpt_random_key("a", 1) != dpt_random_key("a", 0));
    dpt_digest a = {0}, b = {0};
    dpt_digest_text(&a, "ab");
    dpt_digest_text(&a, "c");
    dpt_digest_text(&b, "a");
    dpt_digest_text(&b, "bc");
    CHECK(a.value != b.value); /* lengths count */
    dpt_digest c = {0}, d = {0};
    dpt_digest_i64(&c, 0x0102030405060708);
    dpt_digest_bytes(&d, "\x08\x07\x06\x05\x04\x03\x02\x01", 8); /* little-endian */
    CHECK(c.value == d.value);
    dpt_digest_f64(&c, 0.0);
    dpt_digest_f64(&d, -0.0);
    CHECK(c.value != d.value);
}

static void uniform_and_normal(void) {
    CHECK(dpt_uniform_f32(0) == 0 && dpt_uniform_f32(~0u) < 1.0f);
    CHECK(dpt_uniform_open_f64(0) > 0 && dpt_uniform_open_f64(~0u) < 1);
    double sum = 0, square = 0;
    const int n = 20000;
    for (int i = 0; i < n; i++) {
        dpt_random4 r = dpt_random_quad(7, (uint32_t)i, 0, 0);
        double x, y;
        dpt_normal_pair(r.v[0], r.v[1], &x, &y);
        sum += x + y;
        square += x * x + y * y;
    }
    CHECK_NEAR(sum / (2 * n), 0, 0.02); /* 4 standard deviations of the mean */
    CHECK_NEAR(square / (2 * n), 1, 0.03);
}

static void text(void) {
    const char *const names[] = {"optimizer.lr", "optimizer.momentum", "batch"};
    CHECK_EQ_TEXT(dpt_nearest("optimiser.lr", names, 3), "optimizer.lr");
    CHECK_EQ_TEXT(dpt_nearest("bacth", names, 3), "batch");
    CHECK(dpt_nearest("zebra crossing", names, 3) == NULL);
    char small[8];
    size_t n = dpt_append(small, sizeof small, 0, "%s", "abcdefgh");
    CHECK_EQ_TEXT(small, "abcdefg");
    CHECK_EQ_I64(dpt_append(small, sizeof small, n, "x"), 7);
    char dims[64];
    dpt_dims_text(dims, sizeof dims, 4, (int64_t[]){-1, -2, 28, -16});
    CHECK_EQ_TEXT(dims, "[B,L,28,A2]");
    dpt_dims_text(dims, sizeof dims, 0, NULL);
    CHECK_EQ_TEXT(dims, "[]");
}

static char heard[128];
static void hear(void *user, dpt_log_level level, const char *message) {
    snprintf(heard, sizeof heard, "%s %d %s", (const char *)user, (int)level, message);
}

static void log_and_types(void) {
    dpt_log(DPT_LOG_ERROR, "nobody listens");
    dpt_log_set(hear, "user");
    dpt_log(DPT_LOG_WARNING, "n is %d", 3);
    CHECK_EQ_TEXT(heard, "user 2 n is 3");
    dpt_log_set(NULL, NULL);
    CHECK_EQ_I64(dpt_dtype_size(DPT_I64), 8);
    CHECK_EQ_TEXT(dpt_dtype_text(DPT_U8), "u8");
    CHECK_EQ_I64(dpt_dtype_size((dpt_dtype)77), 0);
    char stamp[32];
    dpt_clock_utc(stamp, sizeof stamp);
    CHECK(strlen(stamp) == 16 && stamp[8] == 'T' && stamp[15] == 'Z');
    double a = dpt_clock_s();
    CHECK(dpt_clock_s() >= a);
}

static struct {
    int calls, fail_at, fail_with; /* fail_at 0: none fails */
    bool of_folder[4];
    int64_t target_bytes[4]; /* at the time of the call */
    const char *target;
} syncs;

static int64_t bytes_of(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (int64_t)about.st_size : -1;
}

/* Stands before the C library's. */
int fsync(int file) {
    struct stat about;
    int call = syncs.calls++;
    if (call < 4 && fstat(file, &about) == 0) {
        syncs.of_folder[call] = S_ISDIR(about.st_mode);
        syncs.target_bytes[call] = bytes_of(syncs.target);
    }
    if (syncs.calls != syncs.fail_at) return (int)syscall(SYS_fsync, file);
    errno = syncs.fail_with;
    return -1;
}

static const char *path_of(const char *name) {
    static char path[4][400];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", check_tmpdir(), name);
    return path[next];
}

static void check_content(const char *path, const char *wanted, size_t bytes) {
    char content[64];
    FILE *in = fopen(path, "rb");
    if (!CHECK(in != NULL)) return;
    CHECK(fread(content, 1, sizeof content, in) == bytes && memcmp(content, wanted, bytes) == 0);
    fclose(in);
}

static void files(void) {
    const char *path = path_of("file"), *temporary = path_of("file.tmp");
    CHECK_OK(dpt_file_write(path, "a\0b", 3));
    check_content(path, "a\0b", 3);
    memset(&syncs, 0, sizeof syncs);
    syncs.target = path;
    CHECK_OK(dpt_file_write(path, "longer", 6));
    check_content(path, "longer", 6);
    CHECK(syncs.calls == 2 && !syncs.of_folder[0] && syncs.of_folder[1]);
    CHECK(syncs.target_bytes[0] == 3 && syncs.target_bytes[1] == 6); /* the rename stands between */
    CHECK_OK(dpt_file_write(path, "", 0));
    CHECK(bytes_of(path) == 0 && bytes_of(temporary) == -1);

    char before[400];
    if (!CHECK(getcwd(before, sizeof before) != NULL && chdir(check_tmpdir()) == 0)) return;
    CHECK_OK(dpt_file_write("file", "here", 4));
    CHECK(chdir(before) == 0);
    check_content(path, "here", 4);
}

static void files_that_fail(void) {
    const char *path = path_of("kept"), *temporary = path_of("kept.tmp");
    CHECK_OK(dpt_file_write(path, "old", 3));
    syncs.calls = 0, syncs.fail_at = 1, syncs.fail_with = EIO;
    CHECK_FAILS(dpt_file_write(path, "new", 3), DPT_ERR_IO, "kept cannot be written: Input/output error");
    check_content(path, "old", 3);
    syncs.calls = 0, syncs.fail_at = 1, syncs.fail_with = EINVAL;
    CHECK_FAILS(dpt_file_write(path, "new", 3), DPT_ERR_IO, "kept cannot be written: Invalid argument");
    check_content(path, "old", 3);
    syncs.calls = 0, syncs.fail_at = 2, syncs.fail_with = EINVAL;
    CHECK_OK(dpt_file_write(path, "old", 3)); /* file systems that cannot sync a folder */
    syncs.calls = 0, syncs.fail_at = 2, syncs.fail_with = EIO;
    CHECK_FAILS(dpt_file_write(path, "old", 3), DPT_ERR_IO, "kept cannot be written: Input/output error");
    syncs.fail_at = 0;

    struct rlimit all, little;
    CHECK(getrlimit(RLIMIT_FSIZE, &all) == 0);
    little = all;
    little.rlim_cur = 2;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &little) == 0);
    dpt_status status = dpt_file_write(path, "new", 3);
    CHECK(setrlimit(RLIMIT_FSIZE, &all) == 0);
    CHECK_FAILS(status, DPT_ERR_IO, "kept cannot be written: File too large");
    CHECK(bytes_of(temporary) == -1);
    for (int n = 1; n <= 2; n++) {
        dpt_alloc_fail_at(n);
        CHECK_EQ_I64(dpt_file_write(path, "new", 3), DPT_ERR_MEMORY);
    }
    dpt_alloc_fail_at(0);
    CHECK_FAILS(dpt_file_commit(temporary, path), DPT_ERR_IO, "kept cannot be written: No such file");
    check_content(path, "old", 3);
    CHECK(bytes_of(temporary) == -1);
    CHECK(symlink(path, temporary) == 0 && symlink(path, path_of("other.tmp")) == 0);
    CHECK_FAILS(dpt_file_write(path, "new", 3), DPT_ERR_IO, "kept cannot be written: Too many levels of symbolic");
    CHECK_FAILS(dpt_file_write(path_of("other"), "new", 3), DPT_ERR_IO, "other cannot be written");
    check_content(path, "old", 3);
    CHECK_OK(dpt_file_write(path, "old", 3)); /* the link is gone */
    CHECK_FAILS(dpt_file_write(path_of("none/x"), "new", 3), DPT_ERR_IO, "none/x cannot be written: No such file");
    CHECK(mkdir(path_of("folder"), 0777) == 0);
    CHECK_FAILS(dpt_file_write(path_of("folder"), "new", 3), DPT_ERR_IO, "folder cannot be written: Is a directory");
    CHECK(bytes_of(path_of("folder.tmp")) == -1);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "base", {"errors", errors}, {"errors_are_of_the_thread", errors_are_of_the_thread},
                      {"allocation", allocation}, {"philox_known_answers", philox_known_answers}, {"hashes", hashes},
                      {"uniform_and_normal", uniform_and_normal}, {"text", text}, {"log_and_types", log_and_types},
                      {"files", files}, {"files_that_fail", files_that_fail});
}
