#include "../ops/gp.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>

#include "gp_model.h"

namespace jobs_bench {
namespace {

constexpr double kLog2Pi = 1.8378770664093454836;

// Outputs of gp_mll for one model.
struct MllOut {
  double *value, *jitter, *gX, *gy, *gtheta, *gnoise, *gmean;
};

void mll_of(const Problem& p, int64_t model, bool x_grad, const MllOut& out) {
  const GpLoops& loops = gp_loops();
  const Spec& spec = p.spec;
  const int64_t n = p.n, d = p.d;
  const double* theta = of_model(p.theta, model);
  const Cloud cloud(spec, of_model(p.X, model), n, d, theta);
  Factor f("gp_mll", p, cloud, model);
  double quad = 0.0, sum = 0.0, trace = 0.0;
  for (int64_t i = 0; i < n; ++i) quad += f.z[i] * f.z[i];
  *out.value = -0.5 * (quad + f.log_det + static_cast<double>(n) * kLog2Pi);
  *out.jitter = f.jitter;
  TORCH_CHECK(std::isfinite(*out.value), "gp_mll: got log likelihood ", *out.value,
              " of model ", model, "; wanted a finite one");
  loops.gather(f.w.data(), f.k.data(), f.ld, f.N);
  // k becomes d value / d covariance: the lower triangle, counted twice, or all of it
  for (int64_t i = 0; i < f.N; ++i) {
    double* row = &f.k[i * f.ld];
    if (i >= n) std::fill(row, row + f.N, 0.0);
    if (i >= n) continue;
    const double half = x_grad ? 0.5 : 1.0;
    for (int64_t j = 0; j < i; ++j) row[j] = half * (f.alpha[i] * f.alpha[j] - row[j]);
    row[i] = 0.5 * (f.alpha[i] * f.alpha[i] - row[i]);
    std::fill(row + i + 1, row + f.N, 0.0);
    trace += row[i];
    sum += f.alpha[i];
    out.gy[i] = -f.alpha[i];
    if (p.noises == 1) {
      *out.gnoise += row[i];
    } else {
      out.gnoise[i] = row[i];
    }
  }
  *out.gmean = sum;
  for (int64_t i = 0; x_grad && i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) f.k[j * f.ld + i] = f.k[i * f.ld + j];
  }
  const Pairs pairs = pair_up(spec, cloud, cloud, theta);
  Numbers sums(spec.size(), 0.0), scratch(spec.scratch()), gx(x_grad ? 16 * spec.s() : 0);
  for (int64_t i = 0; i < f.N; i += 16) {
    loops.contract(pairs, i, i + 16, x_grad ? f.N : i + 16, &f.k[i * f.ld], f.ld, scratch.data(),
                   sums.data(), x_grad ? gx.data() : nullptr);
    if (x_grad) {
      finish_rows(spec, gx.data(), theta, 2.0, std::min<int64_t>(16, n - i), d, out.gX + i * d);
    }
  }
  finish_theta(spec, sums.data(), theta, out.gtheta);
  out.gtheta[spec.size() - 1] += f.relative * trace;  // jitter is proportional to the outputscale
  for (int64_t k = 0; k < spec.size(); ++k) {
    TORCH_CHECK(std::isfinite(out.gtheta[k]), "gp_mll: got gradient ", out.gtheta[k], " of theta[",
                model, "][", k, "] = ", theta[k], "; wanted a finite one");
  }
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gp_mll_cpu(
    const Tensor& X, const Tensor& y, const Tensor& theta, const Tensor& noise, const Tensor& mean,
    int64_t kind, IntArrayRef smooth, IntArrayRef names, bool x_grad) {
  const Problem p("gp_mll", X, y, theta, noise, mean, {kind, smooth, names});
  const auto options = p.theta.options();
  Tensor value = at::zeros({p.M}, options), jitter = at::zeros({p.M}, options);
  Tensor gX = at::zeros({p.M, p.n, p.d}, options), gy = at::zeros({p.M, p.n}, options);
  Tensor gt = at::zeros({p.M, p.spec.size()}, options);
  Tensor gn = at::zeros({p.M, p.noises}, options), gm = at::zeros({p.M}, options);
  const MllOut out = {value.mutable_data_ptr<double>(), jitter.mutable_data_ptr<double>(),
                      gX.mutable_data_ptr<double>(),    gy.mutable_data_ptr<double>(),
                      gt.mutable_data_ptr<double>(),    gn.mutable_data_ptr<double>(),
                      gm.mutable_data_ptr<double>()};
  at::parallel_for(0, p.M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      mll_of(p, q, x_grad,
             {out.value + q, out.jitter + q, out.gX + q * p.n * p.d, out.gy + q * p.n,
              out.gtheta + q * p.spec.size(), out.gnoise + q * p.noises, out.gmean + q});
    }
  });
  return {value, jitter, gX, gy, gt, gn, gm};
}

std::tuple<Tensor, Tensor, Tensor> gp_condition_cpu(const Tensor& X, const Tensor& y,
                                                    const Tensor& theta, const Tensor& noise,
                                                    const Tensor& mean, int64_t kind,
                                                    IntArrayRef smooth, IntArrayRef names) {
  const Problem p("gp_condition", X, y, theta, noise, mean, {kind, smooth, names});
  const auto options = p.theta.options();
  Tensor inverse = at::empty({p.M, p.n, p.n}, options), alpha = at::empty({p.M, p.n}, options);
  Tensor jitter = at::empty({p.M}, options);
  double* wp = inverse.mutable_data_ptr<double>();
  double* ap = alpha.mutable_data_ptr<double>();
  double* jp = jitter.mutable_data_ptr<double>();
  at::parallel_for(0, p.M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      const Cloud cloud(p.spec, of_model(p.X, q), p.n, p.d, of_model(p.theta, q));
      const Factor f("gp_condition", p, cloud, q);
      for (int64_t i = 0; i < p.n; ++i) {
        std::copy_n(&f.w[i * f.ld], p.n, wp + (q * p.n + i) * p.n);
        TORCH_CHECK(std::isfinite(f.alpha[i]), "gp_condition: got weight ", f.alpha[i], " of row ",
                    i, " of model ", q, "; wanted a finite one");
      }
      std::copy_n(f.alpha.data(), p.n, ap + q * p.n);
      jp[q] = f.jitter;
    }
  });
  return {inverse, alpha, jitter};
}

TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("gp_mll", &gp_mll_cpu);
  m.impl("gp_condition", &gp_condition_cpu);
}

}  // namespace jobs_bench
