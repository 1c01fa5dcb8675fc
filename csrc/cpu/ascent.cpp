#include "ascent.h"

#include <algorithm>
#include <cmath>

#include "simplex_projection.h"

namespace jobs_bench {
namespace {

constexpr size_t kPairs = 10;
constexpr int kBacktracks = 20;
constexpr int kIdle = 3;        // steps in a row of hardly any gain, after which it stops
constexpr double kGain = 1e-9;  // hardly any, relative
constexpr double kFlat = 1e-7;  // projected gradient, relative, at which it stops
constexpr double kArmijo = 1e-4;
constexpr double kMostReach = 1.0;  // length of a step along the gradient

// Square roots stay above the point where a covariance cuts them (1e-4) and has no slope.
constexpr double kLeastRoot = 1.5e-4;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Ascent::Ascent(const Design& design, const double* row, int64_t max_iter)
    : design_(design),
      left_(max_iter),
      low_(design.low),
      high_(design.high),
      mixed_(static_cast<size_t>(design.d), 0),
      z_(row, row + design.d),
      multipliers_(design.mixtures.size(), 0.0),
      row_(z_),
      trial_row_(z_) {
  const auto searched = design.active(row);
  for (const auto& mixture : design.mixtures) {
    for (int64_t i = mixture.start; i < mixture.stop; ++i) {
      mixed_[i] = 1;
      if (!mixture.roots) continue;
      high_[i] = std::sqrt(high_[i]);
      low_[i] = std::min(std::max(std::sqrt(low_[i]), kLeastRoot), high_[i]);
      z_[i] = std::sqrt(std::max(z_[i], 0.0));
    }
  }
  for (int64_t i = 0; i < design.d; ++i) {
    if (!searched[i] || !design.levels[i].empty()) low_[i] = high_[i] = z_[i];
  }
  project(z_);
  direction_.assign(z_.size(), 0.0);
  cone_ = gradient_ = direction_;
  trial_z_ = z_;
  to_row(trial_z_, trial_row_);
}

void Ascent::to_row(const Vector& z, Vector& row) const {
  row = z;
  for (const auto& mixture : design_.mixtures) {
    if (!mixture.roots) continue;
    for (int64_t i = mixture.start; i < mixture.stop; ++i) row[i] = z[i] * z[i];
  }
}

void Ascent::project(Vector& z) const {
  for (size_t i = 0; i < z.size(); ++i) {
    if (!mixed_[i]) z[i] = std::clamp(z[i], low_[i], high_[i]);
  }
  for (const auto& m : design_.mixtures) {
    const auto to = m.roots ? project_sphere : project_flat;
    to(m.stop - m.start, &z[m.start], &low_[m.start], &high_[m.start], &z[m.start]);
  }
}

// The gradient projected onto the tangent cone, and its largest coordinate.
double Ascent::project_gradient(const Vector& z, const Vector& g, Vector& out,
                                Vector& multipliers) const {
  double most = 0.0;
  for (size_t i = 0; i < z.size(); ++i) {
    const bool held = (g[i] <= 0.0 && z[i] <= low_[i]) || (g[i] >= 0.0 && z[i] >= high_[i]);
    if (!mixed_[i]) out[i] = held ? 0.0 : g[i];
  }
  for (size_t k = 0; k < design_.mixtures.size(); ++k) {
    const auto& m = design_.mixtures[k];
    const double* normal = m.roots ? &z[m.start] : nullptr;
    multipliers[k] = project_cone(m.stop - m.start, &g[m.start], normal, &z[m.start],
                                  &low_[m.start], &high_[m.start], &out[m.start]);
  }
  for (const double x : out) most = std::max(most, std::abs(x));
  return most;
}

// Keeps the free coordinates of v, less their part along the mixtures' normals.
void Ascent::into_tangent(const Vector& z, const std::vector<char>& free, Vector& v) const {
  for (size_t i = 0; i < v.size(); ++i) {
    if (!free[i]) v[i] = 0.0;
  }
  for (const auto& m : design_.mixtures) {
    double along = 0.0, square = 0.0;
    for (int64_t i = m.start; i < m.stop; ++i) {
      const double a = !free[i] ? 0.0 : m.roots ? z[i] : 1.0;
      along += a * v[i];
      square += a * a;
    }
    if (!(square > 0.0)) continue;
    for (int64_t i = m.start; i < m.stop; ++i) {
      if (free[i]) v[i] -= along / square * (m.roots ? z[i] : 1.0);
    }
  }
}

// Step and change of the Lagrangian's gradient between the current point and (z, g); the
// multipliers are those at (z, g). On a sphere its curvature is the multiplier's.
void Ascent::remember(const Vector& z, const Vector& g) {
  Pair pair = {z, g};
  for (size_t i = 0; i < z.size(); ++i) {
    pair.s[i] -= z_[i];
    pair.y[i] = gradient_[i] - g[i];  // of the negative, which is minimised
  }
  for (size_t k = 0; k < design_.mixtures.size(); ++k) {
    const auto& m = design_.mixtures[k];
    if (!m.roots) continue;
    for (int64_t i = m.start; i < m.stop; ++i) pair.y[i] += multipliers_[k] * pair.s[i];
  }
  if (pairs_.size() == kPairs) pairs_.erase(pairs_.begin());
  pairs_.push_back(std::move(pair));
}

// The quasi-Newton direction from the projected gradient; whether any curvature is known.
bool Ascent::quasi_newton(Vector& direction) const {
  std::vector<char> free(z_.size());
  for (size_t i = 0; i < z_.size(); ++i) free[i] = cone_[i] != 0.0;
  std::vector<Pair> pairs;
  Vector inverse, alpha;
  for (const Pair& pair : pairs_) {
    Pair here = pair;
    into_tangent(z_, free, here.s);
    into_tangent(z_, free, here.y);
    const double sy = dot(here.s, here.y);
    if (!(sy > 1e-10 * std::sqrt(dot(here.s, here.s) * dot(here.y, here.y)))) continue;
    inverse.push_back(1.0 / sy);
    pairs.push_back(std::move(here));
  }
  if (pairs.empty()) return false;
  alpha.assign(pairs.size(), 0.0);
  direction = cone_;
  for (size_t k = pairs.size(); k-- > 0;) {
    alpha[k] = inverse[k] * dot(pairs[k].s, direction);
    for (size_t i = 0; i < direction.size(); ++i) direction[i] -= alpha[k] * pairs[k].y[i];
  }
  const Pair& last = pairs.back();
  const double scale = 1.0 / (inverse.back() * dot(last.y, last.y));
  for (double& x : direction) x *= scale;
  for (size_t k = 0; k < pairs.size(); ++k) {
    const double beta = alpha[k] - inverse[k] * dot(pairs[k].y, direction);
    for (size_t i = 0; i < direction.size(); ++i) direction[i] += beta * pairs[k].s[i];
  }
  return true;
}

// A direction from the current point; false where there is none.
bool Ascent::aim() {
  const double square = dot(cone_, cone_);
  if (!(square > 0.0) || !std::isfinite(square)) return false;
  step_ = 1.0;
  backtracks_ = 0;
  if (quasi_newton(direction_) && dot(direction_, cone_) > 0.0) return true;
  pairs_.clear();
  direction_ = cone_;
  step_ = reach_ / std::sqrt(square);
  return true;
}

// The next trial point along the direction; false where steps have become too short.
bool Ascent::propose() {
  for (; backtracks_ < kBacktracks; ++backtracks_, step_ *= 0.5) {
    for (size_t i = 0; i < z_.size(); ++i) trial_z_[i] = z_[i] + step_ * direction_[i];
    project(trial_z_);
    double gain = 0.0;
    for (size_t i = 0; i < z_.size(); ++i) gain += gradient_[i] * (trial_z_[i] - z_[i]);
    if (!(gain > 0.0)) continue;
    to_row(trial_z_, trial_row_);
    return true;
  }
  if (pairs_.empty()) return false;
  pairs_.clear();
  return aim() && propose();
}

bool Ascent::advance(double value, const double* gradient) {
  Vector g(gradient, gradient + design_.d);
  for (const auto& m : design_.mixtures) {
    if (!m.roots) continue;
    for (int64_t i = m.start; i < m.stop; ++i) g[i] *= 2.0 * trial_z_[i];
  }
  bool usable = std::isfinite(value);
  for (const double x : g) usable = usable && std::isfinite(x);
  if (started_) {
    double expected = 0.0, moved = 0.0;
    for (size_t i = 0; i < z_.size(); ++i) {
      expected += gradient_[i] * (trial_z_[i] - z_[i]);
      moved += (trial_z_[i] - z_[i]) * (trial_z_[i] - z_[i]);
    }
    if (!usable || !(value >= value_ + kArmijo * expected)) {
      const double bend = usable ? 0.5 * expected / (expected - (value - value_)) : 0.1;
      step_ *= std::clamp(bend, 0.1, 0.5);
      ++backtracks_;
      return propose();
    }
    reach_ = std::min(kMostReach, 2.0 * std::sqrt(moved));
    const double scale = std::max(1.0, std::abs(value));
    idle_ = value - value_ > kGain * scale ? 0 : idle_ + 1;
  } else if (!usable) {
    return false;
  }
  const double most = project_gradient(trial_z_, g, cone_, multipliers_);
  if (started_) remember(trial_z_, g);
  started_ = true;
  value_ = value;
  z_ = trial_z_;
  row_ = trial_row_;
  gradient_ = std::move(g);
  if (most <= kFlat * std::max(1.0, std::abs(value)) || idle_ >= kIdle || --left_ <= 0) {
    return false;
  }
  return aim() && propose();
}

}  // namespace jobs_bench
