/* conv_bias.c: the gradient of a convolution's bias on the CPU, in any layout. */
#include "backend/layout.h"
#include "backend/parallel.h"
#include "ops/conv_cpu.h"
#include "ops/map.h"

typedef struct bias_gradient {
    const void *g;
    void *db;
    int64_t rows, channels, plane, lanes;
} bias_gradient;

/* db[o] = sum of g[n,o,...] over rows and positions, in f64 and one order: oneDNN's own sum, in f32, loses four digits
 * over a batch of images. Lanes of channels side by side are summed together, at most 16 of them. */
#define BIAS_GRADIENT(name, T)                                                                                    \
    DPT_MULTIVERSION static void name##_plane(const bias_gradient *b, int64_t o) {                                \
        double total = 0;                                                                                         \
        for (int64_t n = 0; n < b->rows; n++) {                                                                   \
            const T *g = (const T *)b->g + (n * b->channels + o) * b->plane;                                      \
            double sum = 0;                                                                                       \
            _Pragma("omp simd reduction(+ : sum)") for (int64_t i = 0; i < b->plane; i++) sum += (double)g[i];    \
            total += sum;                                                                                         \
        }                                                                                                         \
        ((T *)b->db)[o] = (T)total;                                                                               \
    }                                                                                                             \
    DPT_MULTIVERSION static void name##_lanes(const bias_gradient *b, int64_t o, int64_t width) {                 \
        double total[LANES] = {0};                                                                                \
        const int64_t lanes = b->lanes;                                                                           \
        for (int64_t n = 0; n < b->rows; n++) {                                                                   \
            const T *g = (const T *)b->g + n * b->channels * b->plane + o / lanes * lanes * b->plane + o % lanes; \
            if (width == LANES)                                                                                   \
                for (int64_t i = 0; i < b->plane; i++, g += lanes)                                                \
                    _Pragma("omp simd") for (int l = 0; l < LANES; l++) total[l] += (double)g[l];                 \
            else                                                                                                  \
                for (int64_t i = 0; i < b->plane; i++, g += lanes)                                                \
                    for (int64_t l = 0; l < width; l++) total[l] += (double)g[l];                                 \
        }                                                                                                         \
        for (int64_t l = 0; l < width; l++) ((T *)b->db)[o + l] = (T)total[l];                                    \
    }                                                                                                             \
    static void name(void *context, int64_t begin, int64_t end) {                                                 \
        const bias_gradient *b = context;                                                                         \
        const int64_t most = b->lanes < LANES ? b->lanes : LANES;                                                 \
        for (int64_t o = begin * most, next; o < end * most && o < b->channels; o = next) {                       \
            next = o + most < b->channels ? o + most : b->channels;                                               \
            if (most == 1)                                                                                        \
                name##_plane(b, o);                                                                               \
            else                                                                                                  \
                name##_lanes(b, o, next - o);                                                                     \
        }                                                                                                         \
    }
enum { LANES = 16 };
BIAS_GRADIENT(bias_gradient_f32, float)
BIAS_GRADIENT(bias_gradient_f64, double)
#undef BIAS_GRADIENT

void dpt_conv_bias_gradient(const dpt_call *call) {
    const dpt_operand *g = &call->in[0];
    int64_t rows = g->axis < 0 ? g->dim[0] : dpt_valid_rows(call, g), channels = g->dim[1];
    bias_gradient b = {.g = g->data,
                       .db = call->out[1].data,
                       .rows = rows,
                       .channels = channels,
                       .plane = g->count / (g->dim[0] * channels),
                       .lanes = dpt_layout_lanes(g->layout, channels)};
    int64_t most = b.lanes < LANES ? b.lanes : LANES;
    dpt_parallel(call->device->threads, (channels + most - 1) / most, DPT_MAP_GRAIN / (b.plane * g->dim[0] * most) + 1,
                 g->dtype == DPT_F32 ? bias_gradient_f32 : bias_gradient_f64, &b);
}
