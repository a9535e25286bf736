/* ops_spectral.h: Fourier transforms, and the layer of Fourier neural operators. See ops.h for what all lines mean.
 * Complex values are a last dimension of 2: real and imaginary part. All rowwise; 16-bit floats are computed in f32. */
#ifndef DPTRAIN_OPS_SPECTRAL_H
#define DPTRAIN_OPS_SPECTRAL_H

#include "dptrain/ops_place.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The discrete Fourier transform of real x over its last `dims` dimensions, 1 to 3 of fixed size, as numpy.fft.rfftn:
 * not normalised, exp(-2 pi i jk/n), and of the last dimension, of size n, only frequencies 0 to n/2: [..., n] gives
 * [..., n/2 + 1, 2]. DPT_ERR_SHAPE: x has too few dimensions, or one of them is a batch dimension. */
#define dpt_rfft(x, dims) dpt_rfft_at(DPT_HERE, x, dims)
DPT_API dpt_tensor *dpt_rfft_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims);
/* Its inverse, as numpy.fft.irfftn: [..., n/2 + 1, 2] gives [..., n], divided by the number of values transformed. What
 * a real result cannot have is ignored: of frequencies 0 and n/2 the part that is not symmetric. DPT_ERR_SHAPE: x is
 * not of that shape for this n. */
#define dpt_irfft(x, dims, n) dpt_irfft_at(DPT_HERE, x, dims, n)
DPT_API dpt_tensor *dpt_irfft_at(DPT_PLACE_ARGS, dpt_tensor *x, int dims, int64_t n);
/* A convolution by Fourier transform that keeps the lowest modes (Li et al. 2021): x [B, C, spatial], with 1, 2 or 3
 * spatial dimensions, gives [B, out, spatial]: rfft, at every kept frequency a complex matrix product over channels, 0
 * elsewhere, irfft. modes: one number a spatial dimension, of each sign but in the last dimension: at most half of its
 * size, of the last one n/2 + 1. Parameters "<name>.weights1", with more dimensions "<name>.weights2" and so on, one
 * for each choice of signs (first dimension first), [C, out, modes, 2], started from [0, 1 / (C out)). */
#define dpt_spectral_conv(x, ...) dpt_spectral_conv_at(DPT_HERE, x, __VA_ARGS__)
DPT_API dpt_tensor *dpt_spectral_conv_at(DPT_PLACE_ARGS, dpt_tensor *x, int64_t out, const int64_t *modes,
                                         const char *name);

#ifdef __cplusplus
}
#endif
#endif
