/* map.h: kernels that compute every element of the output from the same element of one or two inputs. DPT_MAP makes the
 * loops of a kernel in f32 and f64, dpt_map_run spreads one over threads. The output may be the first input itself:
 * element i is read before it is written, and no other element is. */
#ifndef DPT_OPS_MAP_H
#define DPT_OPS_MAP_H

#include "backend/layout.h"
#include "backend/parallel.h"

/* Before a static function with a hot loop of floating-point arithmetic, in place of DPT_MULTIVERSION: the compiler may
 * also compute both sides of a choice, without which loops with one do not vectorise. Values are the same. */
#if defined(__GNUC__) && !defined(__clang__)
#define DPT_HOT_LOOP __attribute__((optimize("no-trapping-math"))) DPT_MULTIVERSION
#else
#define DPT_HOT_LOOP DPT_MULTIVERSION
#endif

typedef struct dpt_map {
    const void *x, *z; /* z: the second input, or NULL */
    void *y;
    double value, high;  /* attributes of the op, where it has them */
    int order;           /* the same */
    const double *table; /* coefficients, as the op's loops want them; lives until dpt_map_run returns */
} dpt_map;

/* Elements from which another thread is worth its start. */
enum { DPT_MAP_GRAIN = 32768 };

/* Range function `function`: y[i] = expression in v (x[i]), w (z[i], or v where there is no z) and value. */
#define DPT_MAP_LOOP(function, T, expression)                                  \
    DPT_HOT_LOOP static void function(void *map, int64_t begin, int64_t end) { \
        const dpt_map *m = map;                                                \
        const T *x = m->x, *z = m->z ? m->z : m->x;                            \
        T *y = m->y;                                                           \
        const T value = (T)m->value;                                           \
        (void)value;                                                           \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) {            \
            const T v = x[i], w = z[i];                                        \
            (void)v, (void)w;                                                  \
            y[i] = (expression);                                               \
        }                                                                      \
    }
/* function_f32 and function_f64. */
#define DPT_MAP(function, expression_f32, expression_f64) \
    DPT_MAP_LOOP(function##_f32, float, expression_f32)   \
    DPT_MAP_LOOP(function##_f64, double, expression_f64)

/* Element i of all operands is the same element, whatever the layout. */
static inline dpt_status dpt_map_layouts(const dpt_call *call, dpt_layout_choice *choice) {
    dpt_layouts_alike(call, choice, (1u << call->n_in) - 1, 1, DPT_LAYOUTS_ALL);
    return DPT_OK;
}

/* Runs the loop of the call's type over the valid elements of output 0. */
static inline dpt_status dpt_map_run(const dpt_call *call, dpt_map map, dpt_range_fn f32, dpt_range_fn f64) {
    map.x = call->in[0].data;
    map.z = call->n_in > 1 ? call->in[1].data : NULL;
    map.y = call->out[0].data;
    dpt_parallel(call->device->threads, dpt_valid_count(call, &call->out[0]), DPT_MAP_GRAIN,
                 call->out[0].dtype == DPT_F32 ? f32 : f64, &map);
    return DPT_OK;
}

#endif
