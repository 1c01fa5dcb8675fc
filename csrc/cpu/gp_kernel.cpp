#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>

#include "../ops/gp.h"
#include "gp_model.h"

namespace jobs_bench {

Tensor gp_kernel_cpu(const Tensor& X1, const Tensor& X2, const Tensor& theta, int64_t kind,
                     IntArrayRef smooth, IntArrayRef names) {
  const char* op = "gp_kernel";
  const Spec spec = {kind, smooth, names};
  TORCH_CHECK(X1.dim() == 3, op, ": got X1 ", X1.sizes(), "; wanted (M, n, d)");
  const int64_t n = X1.size(1), d = X1.size(2);
  const Tensor t = checked_theta(op, spec, theta, d);
  const int64_t M = t.size(0);
  const Tensor a = checked(op, "X1", X1, {M, n, d}, true);
  const Tensor b = checked(op, "X2", X2, {M, -1, d}, true);
  const int64_t m = b.size(1), chunks = (n + kChunk - 1) / kChunk;
  Tensor out = at::empty({M, n, m}, t.options());
  double* to = out.mutable_data_ptr<double>();
  for (int64_t q = 0; q < M && m > 0; ++q) {
    const double* th = of_model(t, q);
    const Cloud ca(spec, of_model(a, q), n, d, th), cb(spec, of_model(b, q), m, d, th);
    const Pairs pairs = pair_up(spec, ca, cb, th);
    at::parallel_for(0, chunks, 1 + 16384 / (kChunk * m), [&](int64_t begin, int64_t end) {
      const int64_t ld = padded(m);
      Numbers rows(4 * ld);
      for (int64_t i = begin * kChunk; i < std::min(end * kChunk, n); i += 4) {
        gp_loops().gram(pairs, i, i + 4, ld, rows.data(), ld);
        for (int64_t r = 0; r < std::min<int64_t>(4, n - i); ++r) {
          std::copy_n(&rows[r * ld], m, to + (q * n + i + r) * m);
        }
      }
    });
  }
  return out;
}

std::tuple<Tensor, Tensor, Tensor> gp_kernel_backward_cpu(const Tensor& grad, const Tensor& X1,
                                                          const Tensor& X2, const Tensor& theta,
                                                          int64_t kind, IntArrayRef smooth,
                                                          IntArrayRef names, bool x_grad) {
  const char* op = "gp_kernel_backward";
  const Spec spec = {kind, smooth, names};
  TORCH_CHECK(X1.dim() == 3, op, ": got X1 ", X1.sizes(), "; wanted (M, n, d)");
  const int64_t n = X1.size(1), d = X1.size(2);
  const Tensor t = checked_theta(op, spec, theta, d);
  const int64_t M = t.size(0);
  const Tensor a = checked(op, "X1", X1, {M, n, d}, true);
  const Tensor b = checked(op, "X2", X2, {M, -1, d}, true);
  const int64_t m = b.size(1);
  const Tensor g = checked(op, "grad", grad, {M, n, m}, false);
  Tensor gX1 = at::zeros({M, n, d}, t.options()), gX2 = at::zeros({M, m, d}, t.options());
  Tensor gt = at::zeros({M, spec.size()}, t.options());
  if (n == 0 || m == 0) return {gX1, gX2, gt};
  for (int64_t q = 0; q < M; ++q) {
    const double* th = of_model(t, q);
    const double* from = of_model(g, q);
    const Cloud ca(spec, of_model(a, q), n, d, th), cb(spec, of_model(b, q), m, d, th);
    // first rows of X1 against X2, for theta too; then, where X wants gradients, the reverse
    for (int64_t side = 0; side < (x_grad ? 2 : 1); ++side) {
      const Pairs pairs = side == 0 ? pair_up(spec, ca, cb, th) : pair_up(spec, cb, ca, th);
      const int64_t high = side == 0 ? n : m, wide = side == 0 ? m : n, ld = padded(wide);
      const int64_t chunks = (high + kChunk - 1) / kChunk;
      double* to = (side == 0 ? gX1 : gX2).mutable_data_ptr<double>() + q * high * d;
      Numbers sums(chunks * spec.size(), 0.0);
      at::parallel_for(0, chunks, 1 + 16384 / (kChunk * wide), [&](int64_t begin, int64_t end) {
        Numbers rows(4 * ld), scratch(spec.scratch()), gx(4 * spec.s());
        for (int64_t c = begin; c < end; ++c) {
          for (int64_t i = c * kChunk; i < std::min((c + 1) * kChunk, high); i += 4) {
            const int64_t count = std::min<int64_t>(4, high - i);
            std::fill(rows.begin(), rows.end(), 0.0);
            for (int64_t r = 0; r < count; ++r) {
              for (int64_t j = 0; j < wide; ++j) {
                rows[r * ld + j] = side == 0 ? from[(i + r) * m + j] : from[j * m + i + r];
              }
            }
            gp_loops().contract(pairs, i, i + 4, ld, rows.data(), ld, scratch.data(),
                                &sums[c * spec.size()], x_grad ? gx.data() : nullptr);
            if (x_grad) finish_rows(spec, gx.data(), th, 1.0, count, d, to + i * d);
          }
        }
      });
      if (side == 1) continue;
      for (int64_t c = 1; c < chunks; ++c) {
        for (int64_t k = 0; k < spec.size(); ++k) sums[k] += sums[c * spec.size() + k];
      }
      finish_theta(spec, sums.data(), th, gt.mutable_data_ptr<double>() + q * spec.size());
    }
  }
  return {gX1, gX2, gt};
}

TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("gp_kernel", &gp_kernel_cpu);
  m.impl("gp_kernel_backward", &gp_kernel_backward_cpu);
}

}  // namespace jobs_bench
