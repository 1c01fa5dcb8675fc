#include "gp_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "../core/gp.h"

namespace jobs_bench {
namespace {

// What is added to the diagonal, over the outputscale, until the factorisation succeeds.
constexpr std::array<double, 4> kJitters = {0.0, 1e-10, 1e-8, 1e-6};

// Leading dimension of a padded matrix: rows a power of two apart would share cache sets.
int64_t leading(int64_t n) { return padded(n) % 128 == 0 ? padded(n) + 16 : padded(n); }

}  // namespace

Tensor checked(const char* op, const char* name, const Tensor& t, IntArrayRef shape, bool shared) {
  bool fits = t.dim() == static_cast<int64_t>(shape.size());
  for (int64_t k = 0; fits && k < t.dim(); ++k) {
    fits = shape[k] < 0 || t.size(k) == shape[k] || (k == 0 && shared && t.size(0) == 1);
  }
  TORCH_CHECK(fits, op, ": got ", name, " ", t.sizes(), "; wanted ", shape,
              shared ? " or a leading 1" : "");
  TORCH_CHECK(t.scalar_type() == at::kDouble, op, ": got ", name, " of ", t.scalar_type(),
              "; wanted Double");
  const Tensor out = t.contiguous();
  for (int64_t q = 0; q < out.numel(); ++q) {
    TORCH_CHECK(std::isfinite(numbers(out)[q]), op, ": got ", name, " with ", numbers(out)[q],
                " at ", q, "; wanted finite numbers");
  }
  return out;
}

Tensor checked_theta(const char* op, const Spec& spec, const Tensor& theta, int64_t columns) {
  TORCH_CHECK(spec.kind >= 0 && spec.kind < kGpKinds, op, ": got kind ", spec.kind,
              "; wanted 0 to ", kGpKinds - 1);
  for (IntArrayRef list : {spec.smooth, spec.names}) {
    for (int64_t k : list) {
      TORCH_CHECK(k >= 0 && k < columns, op, ": got column ", k, "; wanted 0 to ", columns - 1);
    }
  }
  const Tensor t = checked(op, "theta", theta, {-1, spec.size()}, false);
  for (int64_t q = 0; q < t.numel(); ++q) {
    const double x = numbers(t)[q];
    const int64_t at = q % spec.size();
    const bool weight = at >= spec.s() && at < spec.s() + spec.c();
    TORCH_CHECK(weight ? x >= 0 : x > 0, op, ": got theta[", q / spec.size(), "][", at, "] = ", x,
                "; wanted ", weight ? "at least 0" : "above 0");
  }
  return t;
}

Problem::Problem(const char* op, const Tensor& X_, const Tensor& y_, const Tensor& theta_,
                 const Tensor& noise_, const Tensor& mean_, Spec spec_)
    : spec(spec_) {
  TORCH_CHECK(X_.dim() == 3, op, ": got X ", X_.sizes(), "; wanted (M, n, d)");
  n = X_.size(1);
  d = X_.size(2);
  theta = checked_theta(op, spec, theta_, d);
  M = theta.size(0);
  X = checked(op, "X", X_, {M, n, d}, true);
  y = checked(op, "y", y_, {M, n}, true);
  mean = checked(op, "mean", mean_, {M}, false);
  noise = checked(op, "noise", noise_, {M, -1}, false);
  noises = noise.size(1);
  TORCH_CHECK(noises == 1 || noises == n, op, ": got noise ", noise.sizes(), "; wanted (", M,
              ", 1) or (", M, ", ", n, ")");
  for (int64_t q = 0; q < noise.numel(); ++q) {
    const double x = numbers(noise)[q];
    TORCH_CHECK(x > 0, op, ": got noise ", x, " at ", q, "; wanted above 0");
  }
}

Cloud::Cloud(const Spec& spec, const double* X, int64_t n_, int64_t d, const double* theta)
    : n(n_), ld(leading(n_)), at((spec.s() + spec.c()) * ld, 0.0) {
  double* to = at.data();
  for (int64_t k = 0; k < spec.s(); ++k, to += ld) {
    for (int64_t i = 0; i < n; ++i) {
      to[i] = X[i * d + spec.smooth[k]] / theta[k];
      TORCH_CHECK(std::fabs(to[i]) < 1e150, "got ", X[i * d + spec.smooth[k]],
                  " under lengthscale ", theta[k], "; wanted a ratio below 1e150");
    }
  }
  for (int64_t k = 0; k < spec.c(); ++k, to += ld) {
    for (int64_t i = 0; i < n; ++i) to[i] = X[i * d + spec.names[k]];
  }
}

Pairs pair_up(const Spec& spec, const Cloud& a, const Cloud& b, const double* theta) {
  return {a.at.data(), a.ld,     b.at.data(),        b.ld,
          spec.s(),    spec.c(), theta + spec.s(), theta[spec.size() - 1],
          spec.kind};
}

void finish_theta(const Spec& spec, const double* sums, const double* theta, double* out) {
  const double scale = theta[spec.size() - 1];
  for (int64_t k = 0; k < spec.s(); ++k) out[k] = 2.0 * sums[k] / theta[k];
  for (int64_t k = 0; k < spec.c(); ++k) out[spec.s() + k] = -scale * sums[spec.s() + k];
  out[spec.size() - 1] = sums[spec.size() - 1];
}

void finish_rows(const Spec& spec, const double* gx, const double* theta, double factor,
                 int64_t rows, int64_t d, double* out) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < spec.s(); ++k) {
      out[i * d + spec.smooth[k]] = factor * gx[i * spec.s() + k] / theta[k];
    }
  }
}

Factor::Factor(const char* op, const Problem& p, const Cloud& cloud, int64_t model)
    : n(cloud.n), N(padded(n)), ld(leading(n)), k(N * ld), w(N * ld, 0.0), alpha(N), z(N) {
  const double* y = of_model(p.y, model);
  const double* noise = of_model(p.noise, model);
  const int64_t noises = p.noises;
  const GpLoops& loops = gp_loops();
  const Pairs pairs = pair_up(p.spec, cloud, cloud, of_model(p.theta, model));
  Numbers inverses((N + kBlock) * kBlock), work((N + kBlock) * kBlock), floors(N, 0.0);
  int64_t bad = 0;
  for (double step : kJitters) {
    relative = step;
    jitter = step * pairs.scale;
    for (int64_t i = 0; i < N; i += 16) loops.gram(pairs, i, i + 16, i + 16, &k[i * ld], ld);
    for (int64_t i = 0; i < n; ++i) {
      double& at = k[i * ld + i];
      at += noise[noises == 1 ? 0 : i] + jitter;
      floors[i] = static_cast<double>(n) * std::numeric_limits<double>::epsilon() * at;
    }
    for (int64_t i = n; i < N; ++i) {
      std::fill(&k[i * ld], &k[i * ld + i], 0.0);
      k[i * ld + i] = 1.0;
    }
    bad = loops.factor(k.data(), ld, N, floors.data(), inverses.data(), work.data());
    if (bad < 0) break;
  }
  TORCH_CHECK(bad < 0, op, ": covariance of ", n, " points not positive definite at row ", bad,
              " with jitter ", jitter, "; noise there is ", noise[noises == 1 ? 0 : bad]);
  loops.invert(k.data(), w.data(), ld, N, inverses.data(), work.data());
  Numbers r(N, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    r[i] = y[i] - numbers(p.mean)[model];
    log_det += 2.0 * std::log(k[i * ld + i]);
  }
  loops.solve(w.data(), ld, N, r.data(), z.data(), alpha.data());
}

}  // namespace jobs_bench
