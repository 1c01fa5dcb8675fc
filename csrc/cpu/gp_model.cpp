#include "gp_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/require.h"

namespace jobs_bench {
namespace {

// What is added to the diagonal, over the sum of outputscales, until the factorisation succeeds.
constexpr double kJitters[] = {0.0, 1e-10, 1e-8, 1e-6};
constexpr double kLog2Pi = 1.8378770664093454836;
constexpr int64_t kKeepMost = 256;  // points whose pairs are kept rather than walked twice

// A factorised covariance, (N, N) under leading dimension ld, rows n to N being padding: the
// diagonal of the Cholesky factor in k, its inverse in w, the residuals solved once in z, twice in
// alpha.
struct Factor {
  int64_t n, N, ld;
  double *k, *w, *alpha, *z;
  double jitter = 0.0, relative = 0.0, log_det = 0.0;
};

int64_t factor_room(int64_t n) {
  return 2 * padded(n) * leading(n) + 4 * padded(n) + pack_room(padded(n));
}

// The lower triangle of the covariance with `extra` on its diagonal, to f.k; padding is that of the
// identity. floors: what pivots must be above.
void fill_covariance(const GpData& data, const Pairs& pairs, double extra, const Factor& f,
                     double* floors, const Kept& keep) {
  for (int64_t i = 0; i < f.N; i += kRows) {
    gp_loops().gram(pairs, i, i + kRows, i + kRows, f.k + i * f.ld, f.ld, keep);
  }
  for (int64_t i = 0; i < f.n; ++i) {
    double& at = f.k[i * f.ld + i];
    at += data.noise[data.noises == 1 ? 0 : i] + extra;
    floors[i] = static_cast<double>(f.n) * std::numeric_limits<double>::epsilon() * at;
  }
  for (int64_t i = f.n; i < f.N; ++i) {
    std::fill(f.k + i * f.ld, f.k + i * f.ld + i, 0.0);
    f.k[i * f.ld + i] = 1.0;
    floors[i] = 0.0;
  }
}

Factor factorise(const char* op, const GpSpec& spec, const GpData& data, const double* theta,
                 double mean, const Pairs& pairs, const Kept& keep, double* pack,
                 GpWorkspace& space) {
  const GpLoops& loops = gp_loops();
  const int64_t n = data.n, N = padded(n), ld = leading(n);
  Factor f{n, N, ld, space.take(N * ld), space.take(N * ld), space.take(N), space.take(N)};
  double *r = space.take(N), *floors = space.take(N);
  for (int64_t i = 0; i < N; ++i) {
    std::fill(f.w + i * ld + i, f.w + i * ld + std::min(i + kBand, ld), 0.0);
  }
  int64_t bad = 0;
  for (double step : kJitters) {
    f.relative = step;
    f.jitter = step * spec.scale(theta);
    fill_covariance(data, pairs, f.jitter, f, floors, keep);
    bad = loops.factor(f.k, f.w, ld, N, floors, pack);
    if (bad < 0) break;
  }
  if (bad >= 0) {
    require(false, op, ": covariance of ", n, " points not positive definite at row ", bad,
            " with jitter ", f.jitter, "; noise there is ", data.noise[data.noises == 1 ? 0 : bad]);
  }
  std::fill(r + n, r + N, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    r[i] = data.y[i] - mean;
    f.log_det += 2.0 * std::log(f.k[i * ld + i]);
  }
  loops.solve(f.w, ld, N, r, f.z, f.alpha);
  return f;
}

// Gradients to theta and X.
void pull_back(const GpSpec& spec, const GpData& data, const double* theta, const Pairs& pairs,
               const Factor& f, const Kept& keep, double trace, const GpMllGrad& grad,
               GpWorkspace& space) {
  const int64_t params = spec.params();
  double *sums = space.take(params), *scratch = space.take(contract_scratch(spec));
  double* gx = grad.X != nullptr ? space.take(kRows * spec.columns()) : nullptr;
  std::fill(sums, sums + params, 0.0);
  if (gx != nullptr) std::fill(grad.X, grad.X + data.n * data.d, 0.0);
  for (int64_t i = 0; i < f.N; i += kRows) {
    gp_loops().contract(pairs, i, i + kRows, gx != nullptr ? f.N : i + kRows, f.k + i * f.ld, f.ld,
                        scratch, sums, gx, keep);
    if (gx == nullptr) continue;
    finish_rows(spec, gx, theta, 2.0, std::min(kRows, data.n - i), data.d, data.X + i * data.d,
                grad.X + i * data.d);
  }
  if (grad.theta == nullptr) return;
  finish_theta(spec, sums, theta, grad.theta);
  for (const GpTerm& term : spec.terms) {  // jitter is proportional to the outputscales
    grad.theta[term.scale()] += f.relative * trace;
  }
  for (int64_t k = 0; k < params; ++k) {
    require(std::isfinite(grad.theta[k]), "gp_mll: got gradient ", grad.theta[k], " of theta[", k,
            "] = ", theta[k], "; wanted a finite one");
  }
}

}  // namespace

GpMllOut gp_mll(const GpSpec& spec, const GpData& data, const double* theta, double mean,
                const GpMllGrad& grad, GpWorkspace& space) {
  const int64_t n = data.n, plane = padded(n) * padded(n);
  const bool keeps = grad.theta != nullptr && grad.X == nullptr && n <= kKeepMost;
  const int64_t kept_room = keeps ? 3 * plane * static_cast<int64_t>(spec.terms.size()) : 0;
  space.reset(Points::room(spec, n) + factor_room(n) + spec.params() + contract_scratch(spec) +
                  kRows * spec.columns() + kept_room,
              16);
  const Settings settings(spec, theta);
  const Points points(spec, data.X, n, data.d, theta, space.take(Points::room(spec, n)));
  const PairUp up(spec, settings, theta, points, points);
  const Kept keep{keeps ? space.take(kept_room) : nullptr, plane, padded(n) * kRows};
  double* pack = space.take(pack_room(padded(n)));
  const Factor f = factorise("gp_mll", spec, data, theta, mean, up.pairs, keep, pack, space);
  double quad = 0.0, sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    quad += f.z[i] * f.z[i];
    sum += f.alpha[i];
  }
  const double value = -0.5 * (quad + f.log_det + static_cast<double>(n) * kLog2Pi);
  require(std::isfinite(value), "gp_mll: got log likelihood ", value, "; wanted a finite one");
  if (grad.mean != nullptr) *grad.mean = sum;
  for (int64_t i = 0; grad.y != nullptr && i < n; ++i) grad.y[i] = -f.alpha[i];
  if (grad.X == nullptr && grad.theta == nullptr && grad.noise == nullptr) return {value, f.jitter};
  gp_loops().gather(f.w, f.k, f.ld, f.N, pack);
  gp_loops().adjoint(f.k, f.ld, n, f.N, f.alpha, grad.X != nullptr);
  double trace = 0.0;
  for (int64_t i = 0; i < n; ++i) trace += f.k[i * f.ld + i];
  if (grad.noise != nullptr && data.noises == 1) *grad.noise = trace;
  for (int64_t i = 0; grad.noise != nullptr && data.noises != 1 && i < n; ++i) {
    grad.noise[i] = f.k[i * f.ld + i];
  }
  if (grad.theta != nullptr || grad.X != nullptr) {
    pull_back(spec, data, theta, up.pairs, f, keep, trace, grad, space);
  }
  return {value, f.jitter};
}

void gp_condition(const GpSpec& spec, const GpData& data, const double* theta, double mean,
                  double* inverse, double* alpha, double* jitter, GpWorkspace& space) {
  const int64_t n = data.n;
  space.reset(Points::room(spec, n) + factor_room(n), 12);
  const Settings settings(spec, theta);
  const Points points(spec, data.X, n, data.d, theta, space.take(Points::room(spec, n)));
  const PairUp up(spec, settings, theta, points, points);
  double* pack = space.take(pack_room(padded(n)));
  const Factor f = factorise("gp_condition", spec, data, theta, mean, up.pairs, {}, pack, space);
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(f.w + i * f.ld, i + 1, inverse + i * n);
    std::fill(inverse + i * n + i + 1, inverse + (i + 1) * n, 0.0);
    require(std::isfinite(f.alpha[i]), "gp_condition: got weight ", f.alpha[i], " of row ", i,
            "; wanted a finite one");
    alpha[i] = f.alpha[i];
  }
  *jitter = f.jitter;
}

}  // namespace jobs_bench
