/* The loader in order `lanes`, over two chunked files: the samples that lanes.h says, at any number of ranks, threads
 * and restarts, with their partners under mixup; blocks as the files have them. */
#include "data/lanes.h"

#include <stdlib.h>

#include "base/memory.h"
#include "data/loader.h"
#include "data/mixup.h"
#include "data/reader.h"
#include "data/sampler.h"
#include "data_files.h"

enum { ROWS = 450, FIRST_ROWS = 310, VALUES = 8192, BATCH = 24, CHUNK = 7 };

static dpt_control control;
static dpt_dataset *data; /* fields: id (f32, the sample), x (u8) */

static void write_file(const char *name, uint64_t first, uint64_t rows) {
    float *id = malloc(rows * sizeof *id);
    uint8_t *x = malloc(rows * VALUES);
    for (uint64_t r = 0; r < rows; r++) {
        id[r] = (float)(first + r);
        memset(x + r * VALUES, (int)((first + r) % 251), VALUES);
    }
    hid_t file = file_create(name);
    file_add(file, "id", H5T_IEEE_F32LE, DPT_F32, id, 1, (hsize_t[]){rows}, STORE_PLAIN);
    file_add(file, "x", H5T_STD_U8LE, DPT_U8, x, 2, (hsize_t[]){rows, VALUES}, STORE_CHUNKS);
    H5Fclose(file);
    free(id);
    free(x);
}

static void start(void) {
    CHECK_OK(dpt_control_open(&control, MPI_COMM_WORLD));
    write_file("a.h5", 0, FIRST_ROWS);
    write_file("b.h5", FIRST_ROWS, ROWS - FIRST_ROWS);
    const char *files[] = {file_path("a.h5"), file_path("b.h5")};
    const dpt_field_spec fields[] = {{.name = "id", .path = "id", .dtype = DPT_F32, .ndim = 0},
                                     {.name = "x", .path = "x", .dtype = DPT_U8, .ndim = DPT_ANY_NDIM}};
    CHECK_OK(dpt_dataset_open(&control, files, 2, fields, 2, &data));
}

static void stop(void) {
    dpt_dataset_close(&data);
    check_nothing_open();
    dpt_control_close(&control);
}

static dpt_loader_options options(void) {
    dpt_loader_options o;
    dpt_loader_options_init(&o);
    o.global_batch = BATCH;
    o.shuffle = true;
    o.window = 2;
    o.seed = 77;
    return o;
}

/* 56 kB of a chunk are less than 64 KiB: blocks of two. */
static const dpt_lanes_file blocks[] = {{FIRST_ROWS, 2 * CHUNK}, {ROWS - FIRST_ROWS, 2 * CHUNK}};

static dpt_lanes_shape wanted_shape(void) {
    return (dpt_lanes_shape){.file = blocks, .files = 2, .lanes = 4, .window = 2, .seed = 77}; /* 33 blocks / 8 */
}

static void shape(void) {
    dpt_loader_options o = options();
    dpt_lanes_file *file;
    dpt_lanes_shape s;
    if (!CHECK_OK(dpt_loader_lanes(data, &o, &file, &s))) return;
    CHECK(s.file == file && s.files == 2 && s.lanes == 4 && s.window == 2 && s.seed == 77);
    for (int f = 0; f < 2; f++) CHECK(file[f].rows == blocks[f].rows && file[f].block_rows == blocks[f].block_rows);
    dpt_free(file);
    CHECK_EQ_I64(dpt_dataset_chunk_rows(data, 1, 1), CHUNK);
    CHECK_EQ_I64(dpt_dataset_chunk_rows(data, 1, 0), 0);
    int64_t rows;
    for (o.world = 1; o.world < 9; o.world++) {
        dpt_lanes_shape expected = wanted_shape();
        CHECK_OK(dpt_loader_capacity(data, &o, &rows));
        int64_t wanted;
        CHECK_OK(dpt_lanes_capacity(&expected, BATCH, o.world, &wanted));
        CHECK_EQ_I64(rows, wanted);
    }
    o.world = 5, o.window = 0;
    CHECK_OK(dpt_loader_capacity(data, &o, &rows));
    CHECK_EQ_I64(rows, 5);
    o = options(), o.capacity = 1;
    dpt_loader *loader;
    CHECK_FAILS(dpt_loader_create(data, &o, &loader), DPT_ERR_ARG, "a capacity of 1 rows");
}

static uint64_t batch_row(const dpt_lanes *lanes, const dpt_lanes_batch *batch, int64_t place) {
    uint64_t row;
    dpt_lanes_rows(lanes, batch, place, 1, &row);
    return row;
}

static void check_batch(const dpt_loader_options *o, const dpt_lanes *lanes, const dpt_batch *b, uint8_t *seen) {
    dpt_lanes_batch of;
    int64_t first, rows;
    dpt_lanes_batch_find(lanes, BATCH, b->step, &of);
    dpt_lanes_share(&of, o->rank, o->world, &first, &rows);
    CHECK(b->first_row == first && b->rows == rows && b->global_rows == dpt_epoch_batch_rows(ROWS, BATCH, b->step));
    dpt_mixup mix =
        o->mixup > 0 ? dpt_mixup_draw(o->mixup, o->seed, b->epoch, b->step, b->global_rows) : (dpt_mixup){0};
    const float *id = b->array[0].data;
    const uint8_t *x = b->array[1].data, *partner = o->mixup > 0 ? b->array[2].data : NULL;
    int wrong = 0;
    for (int64_t r = 0; r < b->rows; r++) {
        uint64_t sample = batch_row(lanes, &of, first + r);
        seen[sample]++;
        wrong += b->sample[r] != sample || x[r * VALUES] != sample % 251;
        float value = (float)sample;
        if (partner) {
            uint64_t other = batch_row(lanes, &of, (first + r + mix.distance) % b->global_rows);
            value = mix.lambda * value + (1 - mix.lambda) * (float)other;
            wrong += partner[r * VALUES] != other % 251;
        }
        wrong += id[r] != value;
    }
    CHECK_EQ_I64(wrong, 0);
}

/* Two epochs of all ranks; each epoch holds every sample once, the first one from first_step on. */
static void consume(dpt_loader_options o, uint64_t first_step) {
    uint8_t seen[2][ROWS] = {{0}};
    dpt_lanes_shape s = wanted_shape();
    dpt_lanes *lanes[2] = {NULL};
    for (uint64_t e = 0; e < 2; e++) CHECK_OK(dpt_lanes_create(&s, e, &lanes[e]));
    o.epochs = 2, o.first_step = first_step;
    for (o.rank = 0; lanes[1] && o.rank < o.world; o.rank++) {
        dpt_loader *loader;
        if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) break;
        uint64_t n = first_step;
        for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b; n++) {
            CHECK(b->epoch == n / dpt_loader_steps(loader) && b->step == n % dpt_loader_steps(loader));
            check_batch(&o, lanes[b->epoch], b, seen[b->epoch]);
            dpt_loader_release(loader);
        }
        CHECK_EQ_I64(n, 2 * 19);
        dpt_loader_destroy(&loader);
    }
    int wrong = 0, all = 0;
    for (int i = 0; i < ROWS; i++) {
        wrong += seen[1][i] != 1 || seen[0][i] > 1;
        all += seen[0][i];
    }
    CHECK_EQ_I64(wrong, 0);
    CHECK_EQ_I64(all, ROWS - (int)first_step * BATCH);
    for (uint64_t e = 0; e < 2; e++) dpt_lanes_destroy(&lanes[e]);
}

static void same_for_all_ranks_and_threads(void) {
    const int worlds[] = {1, 2, 3, 8};
    for (int w = 0; w < 4; w++) {
        dpt_loader_options o = options();
        o.world = worlds[w], o.threads = w, o.slots = 2 + w;
        consume(o, 0);
    }
}

static void restarts(void) {
    dpt_loader_options o = options();
    o.world = 2;
    consume(o, 11);
}

static void mixes(void) {
    dpt_loader_options o = options();
    o.world = 3, o.mixup = 0.4;
    consume(o, 0);
}

/* Many epochs of one step each, many of them filled at once. */
static void short_epochs(void) {
    dpt_loader_options o = options();
    o.global_batch = 512, o.threads = 3, o.slots = 5, o.epochs = 12;
    dpt_loader *loader;
    if (!CHECK_OK(dpt_loader_create(data, &o, &loader))) return;
    for (const dpt_batch *b; CHECK_OK(dpt_loader_next(loader, &b)) && b;) {
        uint8_t seen[ROWS] = {0};
        int wrong = 0;
        for (int64_t r = 0; r < b->rows; r++) wrong += seen[b->sample[r]]++;
        CHECK(b->rows == ROWS && wrong == 0);
        dpt_loader_release(loader);
    }
    dpt_loader_destroy(&loader);
}

/* With room for twice the blocks that a rank mixes each chunk is decoded once an epoch, over all ranks; with less,
 * more. */
static void reads_once(void) {
    uint8_t *x = calloc(ROWS, 64);
    hid_t file = file_create("deflate.h5");
    file_add(file, "x", H5T_STD_U8LE, DPT_U8, x, 2, (hsize_t[]){ROWS, 64}, STORE_DEFLATE);
    H5Fclose(file);
    free(x);
    const char *path = file_path("deflate.h5");
    const dpt_field_spec field = {.name = "x", .path = "x", .dtype = DPT_U8, .ndim = DPT_ANY_NDIM};
    dpt_dataset *ds = NULL;
    if (!CHECK_OK(dpt_dataset_open(&control, &path, 1, &field, 1, &ds))) return;
    dpt_lanes_file of = {ROWS, CHUNK};
    dpt_lanes_shape s = {.file = &of, .files = 1, .lanes = 8, .window = 3, .seed = 5};
    dpt_lanes *lanes = NULL;
    CHECK_OK(dpt_lanes_create(&s, 0, &lanes));
    for (int world = 1; lanes && world <= 8; world++) {
        uint64_t chunks[2] = {0};
        for (int k = 0; k < 2 * world; k++) {
            int rank = k % world, half = k / world;
            dpt_reader *reader;
            uint64_t kept = dpt_lanes_held(&s, rank, world) * CHUNK * 64 * 2 / (half ? 4 : 1);
            if (!CHECK_OK(dpt_reader_create(ds, kept, &reader))) break;
            for (uint64_t step = 0; step < dpt_epoch_steps(ROWS, BATCH); step++) {
                uint8_t row[64];
                int64_t first, rows;
                dpt_lanes_batch b;
                dpt_lanes_batch_find(lanes, BATCH, step, &b);
                dpt_lanes_share(&b, rank, world, &first, &rows);
                for (int64_t r = first; r < first + rows; r++)
                    CHECK_OK(dpt_reader_rows(reader, 0, batch_row(lanes, &b, r), 1, row));
            }
            chunks[half] += dpt_reader_chunks(reader);
            dpt_reader_destroy(&reader);
        }
        CHECK_EQ_I64(chunks[0], dpt_lanes_blocks(&s));
        CHECK(chunks[1] > chunks[0]);
    }
    dpt_lanes_destroy(&lanes);
    dpt_dataset_close(&ds);
}

static void out_of_memory(void) {
    int failures = 0;
    for (int64_t n = 1; n < 100; n++, failures++) {
        dpt_loader_options o = options();
        o.threads = 0, o.slots = 1;
        dpt_loader *loader;
        const dpt_batch *b;
        dpt_alloc_fail_at(n);
        dpt_status status = dpt_loader_create(data, &o, &loader);
        if (status == DPT_OK) status = dpt_loader_next(loader, &b);
        dpt_alloc_fail_at(0);
        CHECK(status == DPT_OK || status == DPT_ERR_MEMORY);
        dpt_loader_destroy(&loader);
        if (status == DPT_OK) break;
    }
    CHECK(failures > 15 && failures < 99);
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "loader_lanes", {"start", start}, {"shape", shape},
                      {"same_for_all_ranks_and_threads", same_for_all_ranks_and_threads}, {"restarts", restarts},
                      {"mixes", mixes}, {"short_epochs", short_epochs}, {"reads_once", reads_once},
                      {"out_of_memory", out_of_memory}, {"stop", stop});
}
