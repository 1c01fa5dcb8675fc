#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "../ops/gp.h"
#include "gp_model.h"

namespace jobs_bench {
namespace {

// Conditioned model, padded: inverse factor by rows and by columns, weights of the mean.
struct Known {
  int64_t n, N;
  Numbers w, turned, alpha;

  Known(const double* inverse, const double* weights, int64_t n_)
      : n(n_), N(padded(n_)), w(N * N, 0.0), turned(N * N, 0.0), alpha(4 * N, 0.0) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) w[i * N + j] = turned[j * N + i] = inverse[i * n + j];
      for (int64_t r = 0; r < 4; ++r) alpha[r * N + i] = weights[i];
    }
  }
};

struct PosteriorOut {
  double *mean, *variance, *mean_x, *variance_x;
};

// Rows [i0, i0 + count) of the queries, count <= kChunk.
void posterior_of(const Spec& spec, const Pairs& pairs, const Known& known, const double* theta,
                  double prior, int64_t i0, int64_t count, int64_t d, const PosteriorOut& out) {
  const GpLoops& loops = gp_loops();
  const int64_t n = known.n, N = known.N, rows = (count + 3) / 4 * 4;
  Numbers k(rows * N), v(rows * N, 0.0), t(rows * N, 0.0);
  Numbers scratch(spec.scratch()), sums(spec.size()), gx(4 * spec.s());
  loops.gram(pairs, i0, i0 + rows, N, k.data(), N);
  for (int64_t r = 0; r < rows; ++r) std::fill(&k[r * N + n], &k[r * N] + N, 0.0);
  loops.multiply(v.data(), N, k.data(), N, 1, known.turned.data(), N, rows, N, N, 1.0);
  loops.multiply(t.data(), N, v.data(), N, 1, known.w.data(), N, rows, N, N, -2.0);
  for (int64_t r = 0; r < count; ++r) {
    double mean = prior, variance = pairs.scale;
    for (int64_t j = 0; j < n; ++j) {
      mean += k[r * N + j] * known.alpha[j];
      variance -= v[r * N + j] * v[r * N + j];
    }
    TORCH_CHECK(std::isfinite(mean) && !std::isnan(variance), "gp_posterior: got mean ", mean,
                " and variance ", variance, " at query ", i0 + r, "; wanted finite ones");
    if (!(variance > 0.0)) std::fill(&t[r * N], &t[r * N] + N, 0.0);
    out.mean[i0 + r] = mean;
    out.variance[i0 + r] = variance > 0.0 ? variance : 0.0;
  }
  for (int64_t r = 0; r < rows; r += 4) {
    const int64_t at = i0 + r, some = std::min<int64_t>(4, count - r);
    loops.contract(pairs, at, at + 4, N, known.alpha.data(), N, scratch.data(), sums.data(),
                   gx.data());
    finish_rows(spec, gx.data(), theta, 1.0, some, d, out.mean_x + at * d);
    loops.contract(pairs, at, at + 4, N, &t[r * N], N, scratch.data(), sums.data(), gx.data());
    finish_rows(spec, gx.data(), theta, 1.0, some, d, out.variance_x + at * d);
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> gp_posterior_cpu(
    const Tensor& Xq, const Tensor& X, const Tensor& theta, const Tensor& mean,
    const Tensor& inverse, const Tensor& alpha, int64_t kind, IntArrayRef smooth,
    IntArrayRef names) {
  const char* op = "gp_posterior";
  const Spec spec = {kind, smooth, names};
  TORCH_CHECK(X.dim() == 3 && Xq.dim() == 3, op, ": got X ", X.sizes(), " and Xq ", Xq.sizes(),
              "; wanted (M, n, d) and (M, q, d)");
  const int64_t n = X.size(1), d = X.size(2), queries = Xq.size(1);
  const Tensor t = checked_theta(op, spec, theta, d);
  const int64_t M = t.size(0);
  const Tensor a = checked(op, "Xq", Xq, {M, queries, d}, true);
  const Tensor b = checked(op, "X", X, {M, n, d}, true);
  const Tensor prior = checked(op, "mean", mean, {M}, false);
  const Tensor w = checked(op, "inverse", inverse, {M, n, n}, false);
  const Tensor weights = checked(op, "alpha", alpha, {M, n}, false);
  Tensor mu = at::empty({M, queries}, t.options()), var = at::empty({M, queries}, t.options());
  Tensor mu_x = at::zeros({M, queries, d}, t.options()), var_x = at::zeros_like(mu_x);
  const PosteriorOut out = {mu.mutable_data_ptr<double>(), var.mutable_data_ptr<double>(),
                            mu_x.mutable_data_ptr<double>(), var_x.mutable_data_ptr<double>()};
  const int64_t chunks = (queries + kChunk - 1) / kChunk;
  for (int64_t q = 0; q < M; ++q) {
    const double* th = of_model(t, q);
    const Cloud ca(spec, of_model(a, q), queries, d, th), cb(spec, of_model(b, q), n, d, th);
    const Pairs pairs = pair_up(spec, ca, cb, th);
    const Known known(of_model(w, q), of_model(weights, q), n);
    const PosteriorOut here = {out.mean + q * queries, out.variance + q * queries,
                               out.mean_x + q * queries * d, out.variance_x + q * queries * d};
    at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t i = c * kChunk;
        posterior_of(spec, pairs, known, th, numbers(prior)[q], i, std::min(kChunk, queries - i),
                     d, here);
      }
    });
  }
  return {mu, var, mu_x, var_x};
}

TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("gp_posterior", &gp_posterior_cpu); }

}  // namespace jobs_bench
