#include "gp_arguments.h"

namespace jobs_bench {
namespace {

// Inverse of the Cholesky factor (M, n, n), weights of the mean (M, n), jitter (M,).
// gp_arguments.h is the contract; threads share the models.
std::tuple<Tensor, Tensor, Tensor> gp_condition_cpu(Tensor X, Tensor y, Tensor theta, Tensor noise,
                                                    Tensor mean, Ints spec) {
  const GpProblem p("gp_condition", X, y, theta, noise, mean, spec);
  Tensor inverse = empty(p.theta, {p.M, p.n, p.n}, ScalarType::Double);
  Tensor alpha = empty(p.theta, {p.M, p.n}, ScalarType::Double);
  Tensor jitter = empty(p.theta, {p.M}, ScalarType::Double);
  double* wp = inverse.mutable_data_ptr<double>();
  double* ap = alpha.mutable_data_ptr<double>();
  double* jp = jitter.mutable_data_ptr<double>();
  share(p.M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      gp_condition(p.spec, p.data(m), of_model(p.theta, m), numbers(p.mean)[m], wp + m * p.n * p.n,
                   ap + m * p.n, jp + m, gp_workspace());
    }
  });
  return {inverse, alpha, jitter};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("gp_condition", TORCH_BOX(&gp_condition_cpu));
}

}  // namespace
}  // namespace jobs_bench
