/* fuzz_main.c: runs a target on a fixed number of inputs: its seeds as they are, then changed: bits, bytes, whole
 * numbers of extreme values, cut, pieces left out, doubled, moved from one seed into another. Input n is a function of
 * n alone. They run in a child process; where one ends it, the parent names the input, writes it to a file and goes on
 * with the next.
 *
 *   fuzz_idx                     the campaign
 *   fuzz_idx FILE...             the target on files
 *   fuzz_idx --seeds FOLDER      writes the seeds, for libFuzzer */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "check.h"
#include "fuzz.h"

enum { INPUT_S = 20, FINDINGS_MAX = 5, SLOWER = 10, FRAGILE_EXIT = 99, FRAMES_MAX = 64 };

static fuzz_seeds seeds;
static struct progress { int next, accepted, refused, fragile; } * shared;

typedef struct input {
    uint8_t bytes[FUZZ_BYTES_MAX];
    size_t size;
    int number;
    uint32_t drawn;
} input;

/* [0, below) */
static uint32_t draw(input *in, size_t below) {
    const dpt_random4 r = dpt_philox(dpt_random_key(fuzz_this.name, 1), in->drawn++, (uint32_t)in->number, 0, 0);
    return below > 0 ? r.v[0] % (uint32_t)below : 0;
}

static size_t place(input *in) { return draw(in, in->size); }

/* A piece of at most `most` bytes. */
static size_t piece(input *in, size_t most) {
    const size_t n = 1 + draw(in, 1U << draw(in, 12));
    return n < most ? n : most;
}

/* Puts n bytes at a place, in the room of `replaced` that stand there. */
static void replace(input *in, size_t at, size_t replaced, const uint8_t *bytes, size_t n) {
    if (in->size - replaced + n > sizeof in->bytes) return;
    uint8_t copy[1 << 12];
    memcpy(copy, bytes, n);
    memmove(in->bytes + at + n, in->bytes + at + replaced, in->size - at - replaced);
    memcpy(in->bytes + at, copy, n);
    in->size = in->size - replaced + n;
}

static void write_extreme(input *in) {
    static const uint64_t value[] = {0,          1,          0x7f,       0x80,          0xff,
                                     0x7fff,     0x8000,     0xffff,     0x7fffffff,    0x80000000,
                                     0xffffffff, 0x40000000, 0x20000001, INT64_MAX,     (uint64_t)INT64_MIN,
                                     UINT64_MAX, 1ULL << 32, 1ULL << 61, UINT64_MAX - 7};
    const size_t bytes = (size_t)1 << draw(in, 4), at = place(in);
    const uint64_t v = value[draw(in, sizeof value / sizeof *value)];
    const bool big = draw(in, 2);
    for (size_t i = 0; i < bytes && at + i < in->size; i++)
        in->bytes[at + i] = (uint8_t)(v >> 8 * (big ? bytes - 1 - i : i));
}

static void change(input *in) {
    if (in->size == 0) return;
    const size_t at = place(in), left = in->size - at;
    switch (draw(in, 16)) {
        case 0: in->size = at; break;
        case 1: replace(in, at, piece(in, left), in->bytes, 0); break;
        case 2: replace(in, at, 0, in->bytes + at, piece(in, left)); break;
        case 3:
        case 4: {
            const int other = (int)draw(in, (size_t)seeds.count);
            const size_t from = draw(in, seeds.size[other]), n = piece(in, seeds.size[other] - from);
            replace(in, at, draw(in, 2) ? n < left ? n : left : 0, seeds.bytes[other] + from, n);
            break;
        }
        case 5:
        case 6:
        case 7:
        case 8:
        case 9: write_extreme(in); break;
        case 10: in->bytes[at] = (uint8_t)draw(in, 256); break;
        case 11: /* a digit, a sign, a separator */
            in->bytes[at] = (uint8_t) "0193-+.eE,\t\n\r\"'x(){}:"[draw(in, 22)];
            break;
        default: in->bytes[at] ^= (uint8_t)(1 << draw(in, 8)); break;
    }
}

static void make_input(int number, input *in) {
    const int seed = number % seeds.count;
    in->number = number;
    in->drawn = 0;
    in->size = seeds.size[seed];
    memcpy(in->bytes, seeds.bytes[seed], in->size);
    if (number < seeds.count) return;
    for (int n = 1 + (int)draw(in, 4); n > 0; n--) change(in);
    if (fuzz_this.mend && draw(in, 4) > 0) fuzz_this.mend(in->bytes, in->size);
}

/* Runs on a copy of exactly this size. */
static dpt_status run(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    dpt_status status = fuzz_this.run(copy, size);
    free(copy);
    return status;
}

static void run_input(int number) {
    static input in;
    make_input(number, &in);
    alarm(INPUT_S);
    dpt_status status = run(in.bytes, in.size);
    alarm(0);
    if (status == DPT_OK) {
        shared->accepted++;
        return;
    }
    shared->refused++;
    if (dpt_last_error()[0] != 0 && number >= seeds.count && status != DPT_ERR_INTERNAL) return;
    fprintf(stderr, "%s: %s\n", dpt_status_text(status), dpt_last_error());
    _exit(1);
}

static void save(int number, const char *folder) {
    static input in;
    char name[500];
    make_input(number, &in);
    snprintf(name, sizeof name, "%s/fuzz_%s.%d", folder, fuzz_this.name, number);
    FILE *f = fopen(name, "wb");
    if (f == NULL || fwrite(in.bytes, 1, in.size, f) != in.size) perror(name);
    if (f != NULL) fclose(f);
    fprintf(stderr, "%s\n", name);
}

static bool report(int status, int number) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return false;
    if (WIFSIGNALED(status))
        fprintf(stderr, "fuzz_%s: input %d: ended by signal %d (%s)\n", fuzz_this.name, number, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? "too slow" : strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "fuzz_%s: input %d: exit code %d\n", fuzz_this.name, number, WEXITSTATUS(status));
    return true;
}

/* Ends the process with FRAGILE_EXIT if it is in the fragile library, else as the signal does. */
static void on_crash(int number) {
    void *frame[FRAMES_MAX];
    const int frames = backtrace(frame, FRAMES_MAX);
    Dl_info about;
    for (int i = 0; i < frames; i++)
        if (dladdr(frame[i], &about) && about.dli_fname && strstr(about.dli_fname, fuzz_this.fragile))
            _exit(FRAGILE_EXIT);
    signal(number, SIG_DFL);
    raise(number);
}

static void run_inputs(int inputs) {
    static const int crash[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    void *frame[1];
    backtrace(frame, 1); /* loads what it needs */
    for (size_t i = 0; fuzz_this.fragile && i < sizeof crash / sizeof *crash; i++) signal(crash[i], on_crash);
    for (; shared->next < inputs; shared->next++) run_input(shared->next);
    exit(0);
}

static int campaign(void) {
    const int inputs = CHECK_IS_SLOW ? fuzz_this.inputs / SLOWER : fuzz_this.inputs;
    int findings = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 70;
    while (shared->next < inputs && findings < FINDINGS_MAX) {
        pid_t child = fork();
        if (child < 0) return 70;
        if (child == 0) run_inputs(inputs);
        int status;
        if (waitpid(child, &status, 0) != child) return 70;
        if (WIFEXITED(status) && WEXITSTATUS(status) == FRAGILE_EXIT) {
            shared->fragile++;
            shared->next++;
            continue;
        }
        if (!report(status, shared->next)) continue;
        findings++;
        if (shared->next < inputs) save(shared->next++, ".");
    }
    printf("fuzz_%s: %d inputs: %d accepted, %d refused, %d crashes inside %s, %d findings\n", fuzz_this.name,
           shared->next, shared->accepted, shared->refused, shared->fragile,
           fuzz_this.fragile ? fuzz_this.fragile : "other libraries", findings);
    return findings > 0 || shared->accepted < seeds.count;
}

static int run_file(const char *path) {
    fuzz_seeds one = {0};
    fuzz_add_file(&one, path);
    dpt_status status = run(one.bytes[0], one.size[0]);
    printf("%s: %s %s\n", path, dpt_status_text(status), status == DPT_OK ? "" : dpt_last_error());
    free(one.bytes[0]);
    return 0;
}

int main(int argc, char **argv) {
    int code = 0;
    fuzz_this.seed(&seeds);
    fuzz_file(seeds.bytes[0], 0); /* this process removes it, whatever happens to its children */
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        for (int i = 0; i < seeds.count; i++) save(i, argv[2]);
    else if (argc == 1)
        code = campaign();
    else
        for (int i = 1; i < argc; i++) code |= run_file(argv[i]);
    for (int i = 0; i < seeds.count; i++) free(seeds.bytes[i]);
    return code;
}
