#include "gp_arguments.h"

namespace jobs_bench {
namespace {

using Seven = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Log marginal likelihood (M,), jitter added to the diagonal (M,), and the likelihood's gradients
// with respect to X (M, n, d), y (M, n), theta, noise and mean, in their shapes; X's is zeros
// without x_grad. gp_arguments.h is the contract; threads share the models.
Seven gp_mll_cpu(Tensor X, Tensor y, Tensor theta, Tensor noise, Tensor mean, Ints spec,
                 bool x_grad) {
  const GpProblem p("gp_mll", X, y, theta, noise, mean, spec);
  const auto fresh = [&](const Ints& shape) { return empty(p.theta, shape, ScalarType::Double); };
  const int64_t params = p.spec.params();
  Tensor value = fresh({p.M}), jitter = fresh({p.M}), gy = fresh({p.M, p.n});
  Tensor gX = zeros(p.theta, {p.M, p.n, p.d}, ScalarType::Double), gt = fresh({p.M, params});
  Tensor gn = fresh({p.M, p.noises}), gm = fresh({p.M});
  const auto at = [](Tensor& t) { return t.mutable_data_ptr<double>(); };
  double *vp = at(value), *jp = at(jitter), *xp = at(gX), *yp = at(gy), *tp = at(gt), *np = at(gn);
  double* mp = at(gm);
  share(p.M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      const GpMllGrad grad{x_grad ? xp + m * p.n * p.d : nullptr, yp + m * p.n, tp + m * params,
                           np + m * p.noises, mp + m};
      const GpMllOut out =
          gp_mll(p.spec, p.data(m), of_model(p.theta, m), numbers(p.mean)[m], grad, gp_workspace());
      vp[m] = out.value;
      jp[m] = out.jitter;
    }
  });
  return {value, jitter, gX, gy, gt, gn, gm};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("gp_mll", TORCH_BOX(&gp_mll_cpu)); }

}  // namespace
}  // namespace jobs_bench
