#include <algorithm>

#include "gp_arguments.h"

namespace jobs_bench {
namespace {

constexpr int64_t kChunk = 64;  // rows of one piece of parallel work

int64_t grain(int64_t m) { return 1 + 16384 / (kChunk * (m + 1)); }

// (M, n, m) covariances. gp_arguments.h is the contract; threads share the rows of X1.
Tensor gp_kernel_cpu(Tensor X1, Tensor X2, Tensor theta, Ints code) {
  const char* op = "gp_kernel";
  const int64_t d = columns_of(op, "X1", X1);
  const GpSpec spec = GpSpec::parse(code.data(), static_cast<int64_t>(code.size()), d);
  const Tensor t = gp_theta(op, spec, theta);
  const int64_t M = t.size(0);
  const Tensor a = gp_rows(op, "X1", spec, X1, M, d), b = gp_rows(op, "X2", spec, X2, M, d);
  const int64_t n = a.size(1), m = b.size(1), chunks = (n + kChunk - 1) / kChunk;
  Tensor out = empty(t, {M, n, m}, ScalarType::Double);
  double* to = out.mutable_data_ptr<double>();
  for (int64_t q = 0; q < M; ++q) {
    const GpCross cross(spec, of_model(a, q), n, of_model(b, q), m, d, of_model(t, q));
    share(chunks, grain(m), [&](int64_t begin, int64_t end) {
      const int64_t i = begin * kChunk;
      cross.kernel(i, std::min(end * kChunk, n), to + (q * n + i) * m);
    });
  }
  return out;
}

// Gradients (M, n, d), (M, m, d), (M, P) of sum(grad * gp_kernel); the first two are zeros without
// x_grad. Columns that are neither smooth nor a fidelity have gradient 0.
std::tuple<Tensor, Tensor, Tensor> gp_kernel_backward_cpu(Tensor grad, Tensor X1, Tensor X2,
                                                          Tensor theta, Ints code, bool x_grad) {
  const char* op = "gp_kernel_backward";
  const int64_t d = columns_of(op, "X1", X1);
  const GpSpec spec = GpSpec::parse(code.data(), static_cast<int64_t>(code.size()), d);
  const Tensor t = gp_theta(op, spec, theta);
  const int64_t M = t.size(0), params = spec.params();
  const Tensor a = gp_rows(op, "X1", spec, X1, M, d), b = gp_rows(op, "X2", spec, X2, M, d);
  const int64_t n = a.size(1), m = b.size(1);
  const Tensor g = gp_numbers(op, "grad", grad, {M, n, m});
  Tensor gX1 = zeros(t, {M, n, d}, ScalarType::Double);
  Tensor gX2 = zeros(t, {M, m, d}, ScalarType::Double);
  Tensor gt = empty(t, {M, params}, ScalarType::Double);
  for (int64_t q = 0; q < M; ++q) {
    const double *th = of_model(t, q), *from = numbers(g) + q * n * m;
    // one side's rows against the other's; theta's gradient comes with the first
    const auto side = [&](const Tensor& A, const Tensor& B, int64_t by_row, int64_t by_col,
                          Tensor& gA, double* gtheta) {
      const int64_t high = A.size(1), wide = B.size(1), chunks = (high + kChunk - 1) / kChunk;
      const GpCross cross(spec, of_model(A, q), high, of_model(B, q), wide, d, th);
      double* to = gA.mutable_data_ptr<double>() + q * high * d;
      std::vector<double> sums(std::max<int64_t>(chunks, 1) * params, 0.0);
      share(chunks, grain(wide), [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          const int64_t i = c * kChunk;
          cross.backward(i, std::min(i + kChunk, high), from, by_row, by_col, &sums[c * params],
                         x_grad ? to + i * d : nullptr);
        }
      });
      for (int64_t c = 1; c < chunks; ++c) {
        for (int64_t k = 0; k < params; ++k) sums[k] += sums[c * params + k];
      }
      if (gtheta != nullptr) cross.finish(sums.data(), gtheta);
    };
    side(a, b, m, 1, gX1, gt.mutable_data_ptr<double>() + q * params);
    if (x_grad) side(b, a, 1, m, gX2, nullptr);
  }
  return {gX1, gX2, gt};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("gp_kernel", TORCH_BOX(&gp_kernel_cpu));
  m.impl("gp_kernel_backward", TORCH_BOX(&gp_kernel_backward_cpu));
}

}  // namespace
}  // namespace jobs_bench
