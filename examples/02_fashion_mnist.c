/* 02_fashion_mnist.c: a CNN on Fashion-MNIST, with the files read by the program itself.
 *
 *   mpirun -np 2 ./02_fashion_mnist [folder with the IDX files, unpacked] [steps]
 *
 * Shows a training loop in which the caller owns the data: each rank takes its rows of every global batch from memory
 * (gunzip the four files of Debian's dataset-fashion-mnist into a folder first). The last line is the test accuracy. */
#include <dptrain/dptrain.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, BATCH = 128 };

typedef struct images {
    int64_t n;
    float *x;         /* (n, 1, 28, 28), normalised */
    unsigned char *y; /* (n) */
} images;

static unsigned char *read_idx(const char *folder, const char *name, size_t header, size_t *bytes) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        if (file) fclose(file);
        return NULL;
    }
    *bytes = (size_t)ftell(file) - header;
    unsigned char *data = malloc(*bytes);
    if (data == NULL || fseek(file, (long)header, SEEK_SET) != 0 || fread(data, 1, *bytes, file) != *bytes) {
        free(data);
        data = NULL;
    }
    fclose(file);
    return data;
}

static int load(const char *folder, const char *part, images *set) {
    char name[64];
    size_t pixels, labels;
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    unsigned char *bytes = read_idx(folder, name, 16, &pixels);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    set->y = read_idx(folder, name, 8, &labels);
    set->x = malloc(pixels * sizeof *set->x);
    if (bytes == NULL || set->y == NULL || set->x == NULL || pixels != labels * PIXELS) return 0;
    set->n = (int64_t)labels;
    for (size_t i = 0; i < pixels; i++) set->x[i] = ((float)bytes[i] / 255.0f - 0.286f) / 0.353f;
    free(bytes);
    return 1;
}

static dpt_graph *build(dpt_context *ctx) {
    dpt_graph *g = dpt_graph_create(ctx);
    const dpt_conv_options same = {.pad = 1};
    dpt_tensor *x = dpt_input(g, "x", DPT_F32, 4, (int64_t[]){DPT_BATCH, 1, SIDE, SIDE});
    dpt_tensor *y = dpt_input(g, "y", DPT_U8, 1, (int64_t[]){DPT_BATCH});
    dpt_tensor *h = dpt_max_pool2d(dpt_relu(dpt_conv2d(x, 16, 3, 1, same, "conv1")), 2, 2, 0);
    h = dpt_max_pool2d(dpt_relu(dpt_conv2d(h, 32, 3, 1, same, "conv2")), 2, 2, 0);
    dpt_tensor *logits = dpt_linear(dpt_relu(dpt_linear(dpt_flatten(h), 64, "fc1")), 10, "fc2");
    dpt_output(g, "accuracy", dpt_accuracy(logits, y));
    dpt_loss_add(g, dpt_cross_entropy(logits, y), 1.0, NULL);
    return g;
}

/* This rank's rows of the global batch that starts at `first`, as arrays. */
static void rows_of(const images *set, int64_t first, int64_t count, dpt_context *ctx, dpt_array in[2]) {
    int64_t rank = dpt_context_rank(ctx), world = dpt_context_world(ctx);
    int64_t begin = first + count * rank / world, end = first + count * (rank + 1) / world;
    in[0] = (dpt_array){"x", set->x + begin * PIXELS, DPT_F32, DPT_HOST, end - begin, NULL};
    in[1] = (dpt_array){"y", set->y + begin, DPT_U8, DPT_HOST, end - begin, NULL};
}

static dpt_status train(dpt_trainer *tr, dpt_context *ctx, const images *set, int64_t steps) {
    dpt_array in[2];
    dpt_metrics m;
    for (int64_t step = 0; step < steps; step++) {
        rows_of(set, step * BATCH % (set->n - BATCH), BATCH, ctx, in);
        DPT_TRY(dpt_trainer_step(tr, in, 2, &m));
        if (dpt_context_rank(ctx) == 0 && (step + 1) % 100 == 0)
            printf("step %lld  loss %.4f\n", (long long)step + 1, m.loss);
    }
    return DPT_OK;
}

static dpt_status test(dpt_trainer *tr, dpt_context *ctx, const images *set, double *accuracy) {
    dpt_array in[2];
    dpt_evaluation e;
    for (int64_t first = 0; first < set->n; first += BATCH) {
        int64_t count = set->n - first < BATCH ? set->n - first : BATCH;
        rows_of(set, first, count, ctx, in);
        DPT_TRY(dpt_trainer_evaluate(tr, in, 2));
    }
    DPT_TRY(dpt_trainer_evaluation(tr, &e));
    *accuracy = e.mean[0];
    return DPT_OK;
}

static dpt_status run(dpt_context *ctx, const images *data, int64_t steps, double *accuracy) {
    dpt_graph *g = build(ctx);
    dpt_trainer_options o;
    dpt_trainer_options_init(&o);
    o.max_rows = BATCH / dpt_context_world(ctx) + 1;
    o.lr = 0.05;
    dpt_trainer *tr = NULL;
    dpt_status status = dpt_trainer_create(g, &o, &tr);
    if (status == DPT_OK) status = train(tr, ctx, &data[0], steps);
    if (status == DPT_OK) status = test(tr, ctx, &data[1], accuracy);
    dpt_trainer_destroy(&tr);
    dpt_graph_destroy(&g);
    return status;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const char *folder = argc > 1 ? argv[1] : ".";
    int64_t steps = argc > 2 ? atoll(argv[2]) : 400;
    images data[2];
    memset(data, 0, sizeof data);
    double accuracy = 0;
    if (!load(folder, "train", &data[0]) || !load(folder, "t10k", &data[1])) MPI_Abort(MPI_COMM_WORLD, 65);
    dpt_context *ctx = NULL;
    dpt_status status = dpt_context_create(MPI_COMM_WORLD, NULL, &ctx);
    if (status == DPT_OK) status = run(ctx, data, steps, &accuracy);
    int root = ctx == NULL || dpt_context_rank(ctx) == 0;
    if (status != DPT_OK && root) fprintf(stderr, "%s: %s\n", dpt_status_text(status), dpt_last_error());
    if (status == DPT_OK && root) printf("test accuracy %.4f\n", accuracy);
    dpt_context_destroy(&ctx);
    for (int i = 0; i < 2; i++) {
        free(data[i].x);
        free(data[i].y);
    }
    MPI_Finalize();
    return status == DPT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
