/* Chunks kept for all ranks of a host: decoded once by whoever comes first, in the values of the file; an even share
 * where there is no room for all; ranks that die, fail or take too long in the middle of it. */
#include "data/node_cache.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/chunk_cache.h"
#include "data/reader.h"
#include "data_files.h"

enum { ROWS = 103, WIDTH = 1000, CHUNK_ROWS = 7, CHUNKS = (ROWS + CHUNK_ROWS - 1) / CHUNK_ROWS, OVERHEAD = 64 << 10 };

static dpt_control control;
static dpt_dataset *data; /* fields: x f32 [1000] in chunks, y i32 in chunks, z i32 contiguous */

static float value(uint64_t row, int64_t element) { return (float)(row * 1000 + (uint64_t)element * 7 % 1000); }

static void start(void) {
    static float x[ROWS * WIDTH];
    static int32_t y[ROWS];
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    for (uint64_t row = 0; row < ROWS; row++) {
        y[row] = (int32_t)row;
        for (int64_t e = 0; e < WIDTH; e++) x[row * WIDTH + (uint64_t)e] = value(row, e);
    }
    const char *path = file_path("data.h5");
    if (control.rank == 0) {
        hid_t file = file_create("data.h5");
        file_add(file, "x", H5T_IEEE_F32LE, DPT_F32, x, 2, (hsize_t[]){ROWS, WIDTH}, STORE_DEFLATE);
        file_add(file, "y", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, STORE_ALL_FILTERS);
        file_add(file, "z", H5T_STD_I32LE, DPT_I32, y, 1, (hsize_t[]){ROWS}, STORE_PLAIN);
        H5Fclose(file);
    }
    files_ready();
    CHECK_OK(dpt_dataset_open(&control, &path, 1,
                              (dpt_field_spec[]){{.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM},
                                                 {.name = "y", .path = "y", .dtype = DPT_I32, .ndim = 0},
                                                 {.name = "z", .path = "z", .dtype = DPT_I32, .ndim = 0}},
                              3, &data));
}

static void stop(void) {
    dpt_dataset_close(&data);
    check_nothing_open();
    dpt_control_close(&control);
}

/* Every row of every field once, beginning at a row of this rank's own. Whole chunks too, as evaluation reads them. */
static void read_all(dpt_reader *reader, uint64_t first, uint64_t count) {
    static float x[ROWS * WIDTH];
    int32_t y[ROWS];
    int wrong = 0;
    for (uint64_t i = 0; i < ROWS; i += count) {
        uint64_t row = (first + i) % ROWS, n = count < ROWS - row ? count : ROWS - row;
        if (!CHECK_OK(dpt_reader_rows(reader, 0, row, n, x)) || !CHECK_OK(dpt_reader_rows(reader, 1, row, n, y)))
            return;
        for (uint64_t k = 0; k < n; k++) {
            wrong += y[k] != (int32_t)(row + k);
            for (int64_t e = 0; e < WIDTH; e++) wrong += x[k * WIDTH + (uint64_t)e] != value(row + k, e);
        }
        if (!CHECK_OK(dpt_reader_rows(reader, 2, row, n, y))) return;
        for (uint64_t k = 0; k < n; k++) wrong += y[k] != (int32_t)(row + k);
    }
    CHECK_EQ_I64(wrong, 0);
}

/* Chunks decoded over all ranks. */
static int64_t decoded(const dpt_reader *reader) {
    int64_t chunks = (int64_t)dpt_reader_chunks(reader);
    CHECK_OK(dpt_control_sum_i64(&control, &chunks, 1));
    return chunks;
}

/* All ranks at once, each from another row on. */
static void once_for_all_ranks(void) {
    dpt_node_cache *kept;
    dpt_reader *reader;
    CHECK_EQ_I64(dpt_node_cache_need(data), CHUNKS * (CHUNK_ROWS * WIDTH * 4 + 32 + 4) + CHUNKS * (64 + 4));
    if (!CHECK_OK(dpt_node_cache_create(&control, data, UINT64_MAX, &kept)) || !kept) return;
    CHECK(dpt_node_cache_holds_all(kept) && dpt_node_cache_bytes(kept) <= dpt_node_cache_need(data) + OVERHEAD);
    CHECK_OK(dpt_reader_create(data, 0, &reader));
    dpt_reader_keep(reader, kept);
    read_all(reader, (uint64_t)(17 * control.rank), 1);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_EQ_I64(decoded(reader), 2 * CHUNKS);
    read_all(reader, (uint64_t)(5 * control.rank), 1);
    dpt_reader_destroy(&reader);
    /* kept beyond the reader, for chunks that are read as a whole too */
    CHECK_OK(dpt_reader_create(data, 0, &reader));
    dpt_reader_keep(reader, kept);
    read_all(reader, 0, CHUNK_ROWS);
    CHECK_EQ_I64(decoded(reader), 0);
    dpt_reader_destroy(&reader);
    dpt_node_cache_destroy(&kept);
    CHECK(kept == NULL);
}

/* Whole chunks from the first read on. */
static void whole_chunks_are_kept(void) {
    dpt_node_cache *kept;
    dpt_reader *reader;
    CHECK_OK(dpt_node_cache_create(&control, data, UINT64_MAX, &kept));
    CHECK_OK(dpt_reader_create(data, 0, &reader));
    dpt_reader_keep(reader, kept);
    for (int again = 0; again < 2; again++) read_all(reader, 0, CHUNK_ROWS);
    CHECK_EQ_I64(decoded(reader), 2 * CHUNKS);
    dpt_reader_destroy(&reader);
    dpt_node_cache_destroy(&kept);
}

/* Labels whole, of the images an even share; what has no place is decoded by each rank, each time. */
static void as_much_as_fits(void) {
    for (int64_t share = 0; share <= 4; share++) {
        dpt_node_cache *kept;
        dpt_reader *reader;
        int places = 0, last = -1, gap = 0;
        uint64_t bytes = CHUNKS * 68 + (uint64_t)(share * 3 * (CHUNK_ROWS * WIDTH * 4 + 36)) + 100;
        CHECK_OK(dpt_node_cache_create(&control, data, bytes, &kept));
        if (!kept) return;
        CHECK(dpt_node_cache_bytes(kept) <= bytes + 256 && !dpt_node_cache_holds_all(kept));
        for (int i = 0; i < CHUNKS; i++) {
            CHECK(dpt_node_cache_has_place(kept, 1, (uint64_t)i) && !dpt_node_cache_has_place(kept, 2, (uint64_t)i));
            if (!dpt_node_cache_has_place(kept, 0, (uint64_t)i)) continue;
            places++;
            if (i - last > gap) gap = i - last;
            last = i;
        }
        CHECK_EQ_I64(places, 3 * share);
        if (share > 0) CHECK(gap <= (CHUNKS + places - 1) / places);
        CHECK_OK(dpt_reader_create(data, 0, &reader));
        dpt_reader_keep(reader, kept);
        for (int again = 0; again < 2; again++) read_all(reader, 0, 1);
        CHECK_EQ_I64(decoded(reader), CHUNKS + places + 2 * control.world * (CHUNKS - places));
        dpt_reader_destroy(&reader);
        dpt_node_cache_destroy(&kept);
    }
}

/* The same datasets of the same file, and those alone. */
static void serves_the_same(void) {
    const char *path = file_path("data.h5"), *copy = file_path("copy.h5");
    const dpt_field_spec y[] = {{.name = "y", .path = "y", .dtype = DPT_I32, .ndim = 0}};
    dpt_dataset *first = NULL, *again = NULL, *other = NULL;
    char command[900];
    snprintf(command, sizeof command, "cp -p '%s' '%s'", path, copy);
    if (control.rank == 0) CHECK(system(command) == 0);
    files_ready();
    CHECK_OK(dpt_dataset_open(&control, &path, 1, y, 1, &first));
    CHECK_OK(dpt_dataset_open(&control, &path, 1, y, 1, &again));
    CHECK_OK(dpt_dataset_open(&control, &copy, 1, y, 1, &other));
    CHECK(dpt_node_cache_serves(first, again) && dpt_node_cache_serves(first, first));
    CHECK(!dpt_node_cache_serves(first, data) && !dpt_node_cache_serves(first, other));
    dpt_dataset_close(&first);
    dpt_dataset_close(&again);
    dpt_dataset_close(&other);
}

static void nothing_to_keep(void) {
    dpt_node_cache *kept = (void *)&control;
    CHECK_OK(dpt_node_cache_create(&control, data, 0, &kept));
    CHECK(kept == NULL);
    dpt_node_cache_destroy(&kept);
}

/* ---- processes of this rank's own ---- */

/* A process that begins to fill a chunk, says so, and is killed in the middle of it: the chunk is filled by another,
 * while the dead one has not been waited for. */
static void dead_ranks_hold_nobody(void) {
    dpt_node_memory memory;
    dpt_node_cache *mine, *other = NULL;
    dpt_node_chunk chunk;
    int told[2];
    char byte;
    if (!CHECK_OK(dpt_node_memory_open_own(dpt_node_cache_need(data) + OVERHEAD, &memory)) || !CHECK(pipe(told) == 0))
        return;
    pid_t child = fork();
    if (child == 0) {
        if (dpt_node_cache_create_in(&memory, data, 1, 2, &other) != DPT_OK) _exit(1);
        if (dpt_node_cache_take(other, 0, 3, &chunk) != DPT_NODE_CHUNK_EMPTY) _exit(2);
        if (write(told[1], "x", 1) != 1) _exit(3);
        for (;;) pause();
    }
    CHECK(read(told[0], &byte, 1) == 1);
    CHECK_OK(dpt_node_cache_create_in(&memory, data, 0, 2, &mine));
    CHECK(dpt_node_cache_find(mine, 0, 3, &chunk) == DPT_NODE_CHUNK_NONE);
    kill(child, SIGKILL);
    CHECK(dpt_node_cache_take(mine, 0, 3, &chunk) == DPT_NODE_CHUNK_EMPTY);
    dpt_node_chunk_filled(&chunk, true);
    CHECK(dpt_node_cache_take(mine, 0, 3, &chunk) == DPT_NODE_CHUNK_READY);
    CHECK_EQ_I64(waitpid(child, NULL, 0), child);
    close(told[0]);
    close(told[1]);
    dpt_node_cache_destroy(&mine);
}

typedef struct taking {
    dpt_node_cache *cache;
    dpt_node_chunk_state got;
} taking;

static void *take_chunk(void *user) {
    taking *t = user;
    dpt_node_chunk chunk;
    t->got = dpt_node_cache_take(t->cache, 1, 2, &chunk);
    return NULL;
}

/* Who comes second waits for the first, and fills what that could not. */
static void second_waits(void) {
    for (int ok = 0; ok < 2; ok++) {
        taking t = {0};
        dpt_node_chunk chunk;
        pthread_t thread;
        CHECK_OK(dpt_node_cache_create(NULL, data, UINT64_MAX, &t.cache));
        CHECK(dpt_node_cache_take(t.cache, 1, 2, &chunk) == DPT_NODE_CHUNK_EMPTY);
        pthread_create(&thread, NULL, take_chunk, &t);
        usleep(20000);
        CHECK(t.got == DPT_NODE_CHUNK_NONE);
        dpt_node_chunk_filled(&chunk, ok);
        pthread_join(thread, NULL);
        CHECK(t.got == (ok ? DPT_NODE_CHUNK_READY : DPT_NODE_CHUNK_EMPTY));
        dpt_node_cache_destroy(&t.cache);
    }
}

/* A chunk that another does not come to the end of is kept beside: nobody waits for it again. 10 seconds. */
static void waits_once(void) {
    const dpt_chunk_key key = {.field = 1, .part = 1, .chunk = 2};
    dpt_node_cache *kept;
    dpt_node_chunk stuck;
    dpt_chunk_cache *cache;
    double took_s[2] = {0};
    if (control.world > 1) return;
    CHECK_OK(dpt_node_cache_create(NULL, data, UINT64_MAX, &kept));
    CHECK(dpt_node_cache_take(kept, 1, 2, &stuck) == DPT_NODE_CHUNK_EMPTY);
    CHECK_OK(dpt_chunk_cache_create(0, 3, &cache));
    dpt_chunk_cache_keep(cache, kept);
    for (int again = 0; again < 2; again++) {
        dpt_cached_chunk *chunk;
        const double start_s = dpt_clock_s();
        if (!CHECK_OK(dpt_chunk_cache_take(cache, key, 28, &chunk))) break;
        took_s[again] = dpt_clock_s() - start_s;
        CHECK(chunk->kept == NULL && chunk->ready == (again == 1));
        if (!chunk->ready) dpt_chunk_cache_filled(cache, chunk, true);
        dpt_chunk_cache_give(cache, chunk);
    }
    CHECK(took_s[0] > 9 && took_s[1] < 5);
    dpt_chunk_cache_destroy(&cache);
    dpt_node_cache_destroy(&kept);
}

/* The memory is one for all ranks, with no name that could be left behind. */
static void memory_is_shared(void) {
    dpt_node_memory memory;
    if (!CHECK_OK(dpt_node_memory_open(&control, 1 << 20, &memory))) return;
    CHECK_EQ_I64(memory.bytes, 1 << 20);
    CHECK_OK(dpt_node_memory_reserve(&memory, 4096, 4096));
    memory.data[control.rank] = (unsigned char)(control.rank + 1);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int r = 0; r < control.world; r++) CHECK_EQ_I64(memory.data[r], r + 1);
    MPI_Barrier(MPI_COMM_WORLD);
    char link[400] = "", name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", memory.descriptor);
    CHECK(readlink(name, link, sizeof link - 1) > 0);
    CHECK_EQ_TEXT(link, "/memfd:dptrain (deleted)");
    dpt_node_memory_close(&memory);
    CHECK(memory.data == NULL);
}

static void out_of_memory(void) {
    dpt_node_memory memory;
    dpt_node_cache *kept = NULL;
    CHECK_FAILS(dpt_node_memory_open(&control, UINT64_MAX, &memory), DPT_ERR_ARG, "bytes of shared memory");
    CHECK(memory.data == NULL);
    for (int64_t n = 1; n < 5; n++) {
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_node_cache_create(&control, data, UINT64_MAX, &kept);
        dpt_alloc_fail_at(0);
        CHECK((status == DPT_OK) == (kept != NULL) && (status == DPT_OK || status == DPT_ERR_MEMORY));
        CHECK(n > 1 || status == DPT_ERR_MEMORY);
        dpt_node_cache_destroy(&kept);
    }
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "node_cache", {"start", start}, {"once_for_all_ranks", once_for_all_ranks},
                      {"whole_chunks_are_kept", whole_chunks_are_kept}, {"as_much_as_fits", as_much_as_fits},
                      {"serves_the_same", serves_the_same}, {"nothing_to_keep", nothing_to_keep},
                      {"dead_ranks_hold_nobody", dead_ranks_hold_nobody}, {"second_waits", second_waits},
                      {"waits_once", waits_once}, {"memory_is_shared", memory_is_shared},
                      {"out_of_memory", out_of_memory}, {"stop", stop});
}
