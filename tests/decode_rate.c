/* decode_rate.c: how fast rows come out of a deflated file: through H5Dread, through one reader, and through two in
 * threads of their own. Used by launch/decode-rate.sh.
 *
 *   decode_rate FILE.h5
 *
 * Writes 100 MB of f32 (8192 rows of 3072, chunks of 32 rows, shuffle off, deflate 4), and prints MB of values a second
 * of each, the best of five: "1 thread 700 MB/s, 2 threads 1380 MB/s, H5Dread 370 MB/s". */
#include <hdf5.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "data/reader.h"

enum { ROWS = 8192, WIDTH = 3072, CHUNK = 32, REPEATS = 5 };

typedef struct part {
    dpt_reader *reader;
    uint64_t first, rows;
    dpt_status status;
} part;

static int write_file(const char *path) {
    const hsize_t dim[] = {ROWS, WIDTH}, chunk[] = {CHUNK, WIDTH};
    float *values = malloc(sizeof(float) * ROWS * WIDTH);
    uint32_t state = 1;
    if (values == NULL) return 1;
    for (int i = 0; i < ROWS * WIDTH; i++) {
        state = state * 1664525 + 1013904223;
        values[i] = (float)(i % WIDTH / 64 % 7) + (float)(state >> 28) / 16;
    }
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), space = H5Screate_simple(2, dim, NULL);
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(p, 2, chunk);
    H5Pset_deflate(p, 4);
    hid_t set = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, p, H5P_DEFAULT);
    int failed = H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0;
    H5Dclose(set);
    H5Pclose(p);
    H5Sclose(space);
    free(values);
    return H5Fclose(file) < 0 || failed;
}

static void *read_part(void *user) {
    part *p = user;
    float *rows = malloc(sizeof(float) * CHUNK * WIDTH);
    p->status = rows ? DPT_OK : DPT_ERR_MEMORY;
    for (uint64_t row = p->first; p->status == DPT_OK && row < p->first + p->rows; row += CHUNK)
        p->status = dpt_reader_rows(p->reader, 0, row, CHUNK, rows);
    free(rows);
    return NULL;
}

/* Seconds of the clock; a negative number where reading failed. A new reader each, with no room for what was decoded.
 */
static double time_readers(const dpt_dataset *dataset, int threads) {
    pthread_t thread[2];
    part p[2];
    double start = dpt_clock_s(), failed = 0;
    for (int t = 0; t < threads; t++) {
        p[t] = (part){.first = (uint64_t)(t * ROWS / threads), .rows = (uint64_t)(ROWS / threads)};
        if (dpt_reader_create(dataset, 0, &p[t].reader) != DPT_OK) abort();
        pthread_create(&thread[t], NULL, read_part, &p[t]);
    }
    for (int t = 0; t < threads; t++) {
        pthread_join(thread[t], NULL);
        dpt_reader_destroy(&p[t].reader);
        failed += p[t].status != DPT_OK;
    }
    return failed > 0 ? -1 : dpt_clock_s() - start;
}

static double time_hdf5(const char *path) {
    const hsize_t size[] = {CHUNK, WIDTH};
    float *rows = malloc(sizeof(float) * CHUNK * WIDTH);
    double start = dpt_clock_s();
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "x", H5P_DEFAULT);
    hid_t space = H5Dget_space(set), memory = H5Screate_simple(2, size, NULL);
    int failed = rows == NULL;
    for (hsize_t row = 0; !failed && row < ROWS; row += CHUNK) {
        const hsize_t first[] = {row, 0};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, first, NULL, size, NULL);
        failed = H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, rows) < 0;
    }
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(set);
    H5Fclose(file);
    free(rows);
    return failed ? -1 : dpt_clock_s() - start;
}

static double rate(double seconds) { return 4e-6 * ROWS * WIDTH / seconds; }

int main(int argc, char **argv) {
    const dpt_control alone = {.comm = MPI_COMM_NULL, .world = 1, .local_world = 1};
    const dpt_field_spec spec = {.name = "x", .path = "x", .dtype = DPT_F32, .ndim = DPT_ANY_NDIM};
    const char *path = argc == 2 ? argv[1] : NULL;
    double best[3] = {0};
    dpt_dataset *dataset;
    if (path == NULL || write_file(path)) return fprintf(stderr, "usage: decode_rate FILE.h5\n"), 64;
    if (dpt_dataset_open(&alone, &path, 1, &spec, 1, &dataset) != DPT_OK)
        return fprintf(stderr, "decode_rate: %s\n", dpt_last_error()), 70;
    for (int i = 0; i < REPEATS; i++) {
        const double seconds[] = {time_readers(dataset, 1), time_readers(dataset, 2), time_hdf5(path)};
        for (int k = 0; k < 3; k++) {
            if (seconds[k] <= 0) return fprintf(stderr, "decode_rate: reading failed\n"), 70;
            if (best[k] == 0 || seconds[k] < best[k]) best[k] = seconds[k];
        }
    }
    dpt_dataset_close(&dataset);
    printf("1 thread %.0f MB/s, 2 threads %.0f MB/s, H5Dread %.0f MB/s\n", rate(best[0]), rate(best[1]), rate(best[2]));
    return 0;
}
