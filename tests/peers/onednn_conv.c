/* onednn_conv.c: what oneDNN reaches by itself: convolutions and their gradients in the layouts of its own choice, with
 * operands that lie in them already. The other side of launch/bench-conv.sh; no part of the tests.
 *
 *   OMP_NUM_THREADS=1 onednn_conv [seconds=S] KIND:ROWSxCHANNELSxSIZE[xSIZE[xSIZE]]:OUT:KERNEL:STRIDE:PAD:GROUPS ...
 *
 * with KIND conv, conv_dgrad or conv_wgrad, as `dptrain bench NAME profile=true` prints them. A line each: the word,
 * the median microseconds of a run over at least S seconds and three runs, GFLOP/s, and the least microseconds. Exit 1:
 * oneDNN refuses, or a word that is none. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { X, W, Y, ARRAYS, MAX_RUNS = 100000 };
enum { FORWARD, DGRAD, WGRAD };

typedef struct shape {
    int kind, spatial;
    dnnl_dim_t rows, channels, out, groups, size[3], kernel, stride, pad;
} shape;

static void must(dnnl_status_t status, const char *what) {
    if (status == dnnl_success) return;
    fprintf(stderr, "onednn_conv: %s: status %d\n", what, (int)status);
    exit(1);
}
#define MUST(call) must((call), #call)

static int parse(const char *word, shape *s) {
    static const char *const kinds[] = {"conv", "conv_dgrad", "conv_wgrad"};
    const char *colon = strchr(word, ':');
    long long size[5], rest[5];
    if (colon == NULL) return 0;
    for (s->kind = 0; s->kind < 3; s->kind++)
        if (strlen(kinds[s->kind]) == (size_t)(colon - word) &&
            strncmp(word, kinds[s->kind], (size_t)(colon - word)) == 0)
            break;
    int n = 0;
    char *end = (char *)colon;
    do size[n++] = strtoll(end + 1, &end, 10);
    while (*end == 'x' && n < 5);
    if (s->kind == 3 || n < 3 ||
        sscanf(end, ":%lld:%lld:%lld:%lld:%lld", &rest[0], &rest[1], &rest[2], &rest[3], &rest[4]) != 5)
        return 0;
    s->spatial = n - 2;
    s->rows = size[0], s->channels = size[1];
    for (int i = 0; i < s->spatial; i++) s->size[i] = size[2 + i];
    s->out = rest[0], s->kernel = rest[1], s->stride = rest[2], s->pad = rest[3], s->groups = rest[4];
    return s->rows > 0 && s->channels > 0 && s->out > 0 && s->kernel > 0 && s->stride > 0 && s->groups > 0;
}

static dnnl_dim_t out_size(const shape *s, int i) { return (s->size[i] + 2 * s->pad - s->kernel) / s->stride + 1; }

static double flop(const shape *s) {
    double n = 2.0 * (double)(s->rows * s->out * (s->channels / s->groups));
    for (int i = 0; i < s->spatial; i++) n *= (double)(out_size(s, i) * s->kernel);
    return n;
}

static void describe(const shape *s, dnnl_memory_desc_t md[ARRAYS]) {
    dnnl_dims_t x = {s->rows, s->channels}, y = {s->rows, s->out},
                w = {s->groups, s->out / s->groups, s->channels / s->groups};
    for (int i = 0; i < s->spatial; i++) x[2 + i] = s->size[i], y[2 + i] = out_size(s, i), w[3 + i] = s->kernel;
    const int grouped = s->groups > 1;
    MUST(dnnl_memory_desc_init_by_tag(&md[X], 2 + s->spatial, x, dnnl_f32, dnnl_format_tag_any));
    MUST(dnnl_memory_desc_init_by_tag(&md[Y], 2 + s->spatial, y, dnnl_f32, dnnl_format_tag_any));
    MUST(dnnl_memory_desc_init_by_tag(&md[W], 2 + grouped + s->spatial, w + !grouped, dnnl_f32, dnnl_format_tag_any));
}

/* The primitive descriptor of the kind, all layouts open. */
static dnnl_primitive_desc_t open(const shape *s, dnnl_engine_t engine) {
    dnnl_memory_desc_t md[ARRAYS];
    dnnl_convolution_desc_t d;
    dnnl_primitive_desc_t forward, backward;
    dnnl_dims_t stride, pad;
    for (int i = 0; i < s->spatial; i++) stride[i] = s->stride, pad[i] = s->pad;
    describe(s, md);
    MUST(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, dnnl_convolution_direct, &md[X], &md[W], NULL,
                                            &md[Y], stride, pad, pad));
    MUST(dnnl_primitive_desc_create(&forward, &d, NULL, engine, NULL));
    if (s->kind == FORWARD) return forward;
    if (s->kind == DGRAD)
        MUST(dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, &md[X], &md[W], &md[Y], stride, pad,
                                                      pad));
    else
        MUST(dnnl_convolution_backward_weights_desc_init(&d, dnnl_convolution_direct, &md[X], &md[W], NULL, &md[Y],
                                                         stride, pad, pad));
    MUST(dnnl_primitive_desc_create(&backward, &d, NULL, engine, forward));
    MUST(dnnl_primitive_desc_destroy(forward));
    return backward;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* An operand in the layout that was chosen, filled with small numbers. */
static dnnl_memory_t operand(const_dnnl_primitive_desc_t pd, dnnl_query_t query, dnnl_engine_t engine) {
    dnnl_memory_t memory;
    void *data;
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, query, 0);
    MUST(dnnl_memory_create(&memory, md, engine, DNNL_MEMORY_ALLOCATE));
    MUST(dnnl_memory_get_data_handle(memory, &data));
    for (size_t i = 0; i < dnnl_memory_desc_get_size(md) / sizeof(float); i++)
        ((float *)data)[i] = (float)(i % 17) * 0.125F - 1;
    return memory;
}

static double median_run(const shape *s, double seconds, dnnl_engine_t engine, dnnl_stream_t stream, double *least) {
    static const dnnl_query_t queries[3][ARRAYS] = {
        {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md},
        {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md}};
    static const int numbers[3][ARRAYS] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                                           {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
                                           {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    static double times[MAX_RUNS];
    dnnl_primitive_desc_t pd = open(s, engine);
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[ARRAYS];
    MUST(dnnl_primitive_create(&primitive, pd));
    for (int i = 0; i < ARRAYS; i++)
        args[i] = (dnnl_exec_arg_t){numbers[s->kind][i], operand(pd, queries[s->kind][i], engine)};
    int n = 0;
    MUST(dnnl_primitive_execute(primitive, stream, ARRAYS, args));
    for (const double end = now() + seconds; n < MAX_RUNS && (n < 3 || now() < end); n++) {
        const double begin = now();
        MUST(dnnl_primitive_execute(primitive, stream, ARRAYS, args));
        MUST(dnnl_stream_wait(stream));
        times[n] = now() - begin;
    }
    for (int i = 0; i < ARRAYS; i++) MUST(dnnl_memory_destroy(args[i].memory));
    MUST(dnnl_primitive_destroy(primitive));
    MUST(dnnl_primitive_desc_destroy(pd));
    qsort(times, (size_t)n, sizeof *times, ascending);
    *least = times[0];
    return times[n / 2];
}

int main(int argc, char **argv) {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    double seconds = 0.2;
    MUST(dnnl_engine_create(&engine, dnnl_cpu, 0));
    MUST(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    for (int i = 1; i < argc; i++) {
        shape s;
        if (sscanf(argv[i], "seconds=%lf", &seconds) == 1) continue;
        if (!parse(argv[i], &s)) {
            fprintf(stderr,
                    "onednn_conv: \"%s\" is no shape: KIND:ROWSxCHANNELSxSIZE...:OUT:KERNEL:STRIDE:PAD:GROUPS\n",
                    argv[i]);
            return 1;
        }
        double least;
        const double time = median_run(&s, seconds, engine, stream, &least);
        printf("%s %.2f us %.1f GFLOP/s least %.2f us\n", argv[i], 1e6 * time, 1e-9 * flop(&s) / time, 1e6 * least);
        fflush(stdout);
    }
    MUST(dnnl_stream_destroy(stream));
    MUST(dnnl_engine_destroy(engine));
    return 0;
}
