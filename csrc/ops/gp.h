#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace jobs_bench {

// Gaussian processes: M models at once. Every tensor is float64 on the CPU, of any strides.
//   X, X1, X2, Xq  (M or 1, n, d) rows; a leading 1 shares them between the models
//   theta          (M, S + C + 1): S lengthscales > 0, C Hamming weights >= 0, outputscale > 0
//   y              (M or 1, n)
//   noise          (M, 1) or (M, n) variances > 0
//   mean           (M,)
//   kind           GpKind of core/gp.h
//   smooth, names  S and C columns of X, distinct
// Values are finite; anything else raises, and so does a matrix that stays indefinite with the
// largest jitter. Outputs are contiguous and fresh, no aliasing; all sums are in float64.
// Deterministic: the same bits at any number of threads; they depend on the processor's
// instruction set. Within rounding of jobs_bench/ops/_gp_reference.py, the definition of right.
// n = 0 and M = 0 are allowed.

// (M, n, m) covariances.
at::Tensor gp_kernel_cpu(const at::Tensor& X1, const at::Tensor& X2, const at::Tensor& theta,
                         int64_t kind, at::IntArrayRef smooth, at::IntArrayRef names);

// Gradients (M, n, d), (M, m, d), (M, S + C + 1) of sum(grad * gp_kernel); the first two are zeros
// without x_grad. Columns outside `smooth` have gradient 0.
std::tuple<at::Tensor, at::Tensor, at::Tensor> gp_kernel_backward_cpu(
    const at::Tensor& grad, const at::Tensor& X1, const at::Tensor& X2, const at::Tensor& theta,
    int64_t kind, at::IntArrayRef smooth, at::IntArrayRef names, bool x_grad);

// Log marginal likelihood (M,), jitter added to the diagonal (M,), and the likelihood's gradients
// with respect to X (M, n, d), y (M, n), theta, noise and mean, in their shapes; X's is zeros
// without x_grad.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
gp_mll_cpu(const at::Tensor& X, const at::Tensor& y, const at::Tensor& theta,
           const at::Tensor& noise, const at::Tensor& mean, int64_t kind, at::IntArrayRef smooth,
           at::IntArrayRef names, bool x_grad);

// Inverse of the Cholesky factor (M, n, n), weights of the mean (M, n), jitter (M,).
std::tuple<at::Tensor, at::Tensor, at::Tensor> gp_condition_cpu(
    const at::Tensor& X, const at::Tensor& y, const at::Tensor& theta, const at::Tensor& noise,
    const at::Tensor& mean, int64_t kind, at::IntArrayRef smooth, at::IntArrayRef names);

// Mean and variance (M, q) of the noise-free value at Xq, and their gradients (M, q, d) with
// respect to Xq. inverse and alpha are gp_condition's. Variances are cut at 0, gradient 0 there.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> gp_posterior_cpu(
    const at::Tensor& Xq, const at::Tensor& X, const at::Tensor& theta, const at::Tensor& mean,
    const at::Tensor& inverse, const at::Tensor& alpha, int64_t kind, at::IntArrayRef smooth,
    at::IntArrayRef names);

}  // namespace jobs_bench
