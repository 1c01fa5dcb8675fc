#include <algorithm>

#include "gp_arguments.h"

namespace jobs_bench {
namespace {

constexpr int64_t kChunk = 64;  // queries that are worth a thread

// Mean and variance (M, q) of the noise-free value at Xq, and their gradients (M, q, d) with
// respect to Xq. inverse and alpha are gp_condition's. Variances are cut at 0, gradient 0 there.
// gp_arguments.h is the contract; threads share the queries.
std::tuple<Tensor, Tensor, Tensor, Tensor> gp_posterior_cpu(Tensor Xq, Tensor X, Tensor theta,
                                                            Tensor mean, Tensor inverse,
                                                            Tensor alpha, Ints code) {
  const char* op = "gp_posterior";
  const int64_t d = columns_of(op, "X", X);
  const GpSpec spec = GpSpec::parse(code.data(), static_cast<int64_t>(code.size()), d);
  const Tensor t = gp_theta(op, spec, theta);
  const int64_t M = t.size(0);
  const Tensor a = gp_rows(op, "Xq", spec, Xq, M, d), b = gp_rows(op, "X", spec, X, M, d);
  const int64_t q = a.size(1), n = b.size(1);
  const Tensor prior = gp_numbers(op, "mean", mean, {M});
  const Tensor w = gp_numbers(op, "inverse", inverse, {M, n, n});
  const Tensor weights = gp_numbers(op, "alpha", alpha, {M, n});
  Tensor mu = empty(t, {M, q}, ScalarType::Double), var = empty(t, {M, q}, ScalarType::Double);
  Tensor mu_x = empty(t, {M, q, d}, ScalarType::Double);
  Tensor var_x = empty(t, {M, q, d}, ScalarType::Double);
  double *mp = mu.mutable_data_ptr<double>(), *vp = var.mutable_data_ptr<double>();
  double *mxp = mu_x.mutable_data_ptr<double>(), *vxp = var_x.mutable_data_ptr<double>();
  for (int64_t m = 0; m < M; ++m) {
    const GpModel model(spec, of_model(b, m), n, d, of_model(t, m), numbers(prior)[m],
                        of_model(w, m), of_model(weights, m));
    share((q + kChunk - 1) / kChunk, 1, [&](int64_t begin, int64_t end) {
      const int64_t i = begin * kChunk, at = m * q + i;
      gp_posterior(model, std::min(end * kChunk, q) - i, of_model(a, m) + i * d, mp + at, vp + at,
                   mxp + at * d, vxp + at * d, gp_workspace());
    });
  }
  return {mu, var, mu_x, var_x};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("gp_posterior", TORCH_BOX(&gp_posterior_cpu));
}

}  // namespace
}  // namespace jobs_bench
