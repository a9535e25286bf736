/* Samples of Fourier transforms and products of spectra: see op_samples.h. */
#include "samples/samples.h"

static dpt_tensor *line(sample_build *b) { return dpt_rfft(any(b, DIMS(B, 2, 5)), 1); }
static dpt_tensor *plane(sample_build *b) {
    dpt_tensor *y = dpt_rfft(any(b, DIMS(B, 3, 4)), 2);
    return dpt_mul(y, y);
}
static dpt_tensor *line_back(sample_build *b) {
    dpt_tensor *y = dpt_irfft(any(b, DIMS(B, 2, 4, 2)), 1, 6);
    return dpt_mul(y, y);
}
/* an odd last size: no frequency but 0 is its own mirror */
static dpt_tensor *plane_back(sample_build *b) { return dpt_irfft(any(b, DIMS(B, 2, 3, 2)), 2, 5); }
static dpt_tensor *volume(sample_build *b) { return dpt_irfft(dpt_rfft(any(b, DIMS(B, 1, 2, 3, 4)), 3), 3, 4); }
static dpt_tensor *volume_same(sample_build *b) { return dpt_scale(any(b, DIMS(B, 1, 2, 3, 4)), 1); }

/* dpt_spectral_conv, with its weights as inputs */
static dpt_tensor *mix(sample_build *b, dpt_mix_attr mix, dpt_tensor *x, int corners, int ndim, const int64_t *dim) {
    dpt_tensor *in[3] = {x};
    for (int i = 0; i < corners; i++) in[1 + i] = any(b, ndim, dim);
    return dpt_apply(DPT_HERE, DPT_OP_MIX, NULL, &(dpt_attr){.mix = mix}, 1 + corners, in);
}
static dpt_tensor *mix_line(sample_build *b) {
    const dpt_mix_attr attr = {.dims = 1, .size = {1, 1, 4}, .modes = {1, 1, 2}};
    return mix(b, attr, any(b, DIMS(B, 2, 4, 2)), 1, DIMS(2, 3, 2, 2));
}
static dpt_tensor *mix_plane(sample_build *b) {
    const dpt_mix_attr attr = {.dims = 2, .size = {1, 5, 3}, .modes = {1, 2, 2}};
    return mix(b, attr, any(b, DIMS(B, 1, 5, 3, 2)), 2, DIMS(1, 2, 2, 2, 2));
}
static dpt_tensor *mix_volume(sample_build *b) {
    const dpt_mix_attr attr = {.dims = 3, .size = {2, 3, 2}, .modes = {1, 1, 2}, .corner = 2}; /* and 3 */
    return mix(b, attr, any(b, DIMS(B, 1, 2, 3, 2, 2)), 2, DIMS(1, 1, 1, 1, 2, 2));
}

static const op_sample rows_of_table[] = {
    CLOSED(RFFT, "rfft, 1-D", line),
    CLOSED(RFFT, "rfft, 2-D", plane),
    CLOSED(IRFFT, "irfft, 1-D", line_back),
    CLOSED(IRFFT, "irfft, 2-D, odd", plane_back),
    CLOSED_AS(IRFFT, "there and back, 3-D", volume, volume_same),
    CLOSED(MIX, "product of spectra, 1-D", mix_line),
    CLOSED(MIX_DGRAD, "product of spectra, 2-D", mix_plane),
    CLOSED(MIX_WGRAD, "product of spectra, 3-D", mix_volume),
};
SAMPLE_FAMILY(spectral)
