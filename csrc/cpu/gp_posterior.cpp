#include <algorithm>
#include <cmath>

#include "../core/require.h"
#include "gp_model.h"

namespace jobs_bench {
namespace {

constexpr int64_t kChunk = 64;  // queries at a time

}  // namespace

GpModel::GpModel(const GpSpec& spec, const double* X, int64_t n, int64_t d, const double* theta,
                 double mean, const double* inverse, const double* alpha)
    : spec_(spec),
      n_(n),
      N_(padded(n)),
      d_(d),
      mean_(mean),
      theta_(theta, theta + spec.params()),
      at_(Points::room(spec, n)),
      inverse_(N_ * N_, 0.0),
      alpha_(kRows * N_, 0.0),
      settings_(spec, theta),
      points_(spec, X, n, d, theta, at_.data()) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) inverse_[i * N_ + j] = inverse[i * n + j];
    for (int64_t r = 0; r < kRows; ++r) alpha_[r * N_ + i] = alpha[i];
  }
}

void GpModel::posterior(int64_t q, const double* Xq, double* mean, double* variance, double* mean_x,
                        double* variance_x, GpWorkspace& workspace) const {
  for (int64_t i = 0; i < q; i += kChunk) {
    const int64_t by = mean_x != nullptr ? i * d_ : 0;
    chunk(std::min(kChunk, q - i), Xq + i * d_, mean + i, variance + i, mean_x + by,
          variance_x + by, workspace);
  }
}

void GpModel::chunk(int64_t q, const double* Xq, double* mean, double* variance, double* mean_x,
                    double* variance_x, GpWorkspace& space) const {
  const GpLoops& loops = gp_loops();
  const int64_t rows = (q + kRows - 1) / kRows * kRows, columns = spec_.columns();
  space.reset(Points::room(spec_, q) + 3 * rows * N_ + contract_scratch(spec_) + spec_.params() +
                  kRows * columns + pack_room(N_),
              9);
  const Points queries(spec_, Xq, q, d_, theta_.data(), space.take(Points::room(spec_, q)));
  const PairUp up(spec_, settings_, theta_.data(), queries, points_);
  double *k = space.take(rows * N_), *v = space.take(rows * N_), *t = space.take(rows * N_);
  loops.gram(up.pairs, 0, rows, N_, k, N_, {});
  for (int64_t r = 0; r < rows; ++r) std::fill(k + r * N_ + n_, k + (r + 1) * N_, 0.0);
  double* pack = space.take(pack_room(N_));
  loops.multiply(
      {v, N_, k, N_, false, inverse_.data(), N_, true, rows, N_, N_, 1.0, false, false, kBBelow},
      pack);
  if (mean_x != nullptr) {
    std::fill(mean_x, mean_x + q * d_, 0.0);
    std::fill(variance_x, variance_x + q * d_, 0.0);
    loops.multiply({t, N_, v, N_, false, inverse_.data(), N_, false, rows, N_, N_, -2.0, false,
                    false, kBAbove},
                   pack);
  }
  for (int64_t r = 0; r < q; ++r) {
    const double* x = Xq + r * d_;
    double mu = mean_, left = prior_variance(spec_, theta_.data(), x, 0.0, nullptr);
    for (int64_t j = 0; j < n_; ++j) {
      mu += k[r * N_ + j] * alpha_[j];
      left -= v[r * N_ + j] * v[r * N_ + j];
    }
    require(std::isfinite(mu) && !std::isnan(left), "gp_posterior: got mean ", mu, " and variance ",
            left, " at query ", r, "; wanted finite ones");
    mean[r] = mu;
    variance[r] = left > 0.0 ? left : 0.0;
    if (mean_x == nullptr) continue;
    if (left > 0.0) prior_variance(spec_, theta_.data(), x, 1.0, variance_x + r * d_);
    if (!(left > 0.0)) std::fill(t + r * N_, t + (r + 1) * N_, 0.0);
  }
  if (mean_x == nullptr) return;
  double *sums = space.take(spec_.params()), *scratch = space.take(contract_scratch(spec_));
  double* gx = space.take(kRows * columns);
  std::fill(sums, sums + spec_.params(), 0.0);
  for (int64_t r = 0; r < rows; r += kRows) {
    const int64_t some = std::min(kRows, q - r);
    const auto pull = [&](const double* weights, double* out) {
      loops.contract(up.pairs, r, r + kRows, N_, weights, N_, scratch, sums, gx, {});
      finish_rows(spec_, gx, theta_.data(), 1.0, some, d_, Xq + r * d_, out + r * d_);
    };
    pull(alpha_.data(), mean_x);
    pull(t + r * N_, variance_x);
  }
}

}  // namespace jobs_bench
