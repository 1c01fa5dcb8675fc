#pragma once

#include <cmath>
#include <cstdint>

#include "philox.h"

// An acquisition function of a normal posterior: the arithmetic, shared by all devices. The
// definition of right is jobs_bench/ops/_acquisition_reference.py; names and constants are its.
// Everything is to be maximised.

namespace jobs_bench {

enum AcquisitionKind : int64_t { kLogEi = 0, kUcb = 1, kMean = 2 };
constexpr int64_t kAcquisitionKinds = 3;
constexpr double kLeastVariance = 1e-12;  // variances are raised to this; their slope is 0 below

// log h(u), and the slopes of log(sd h(u)) times sd: Phi(u) / h(u) in the mean, phi(u) / h(u) in
// the standard deviation, where h(u) = phi(u) + u Phi(u) is the expected improvement of a standard
// normal variable over -u. Ament et al., "Unexpected improvements to expected improvement for
// Bayesian optimization", NeurIPS 2023, equations 8 and 9 give log h; the slopes are exact.
struct LogImprovement {
  double value, mean_slope, sd_slope;
};

// Relative errors about 1e-13 for any u of [-1e150, 1e150].
JB_HOST_DEVICE inline LogImprovement log_improvement(double u) {
  const double log_root_2pi = 0.91893853320467274178, root_half = 0.70710678118654752440;
  if (u > -1.0) {
    const double density = std::exp(-0.5 * u * u - log_root_2pi);
    const double below = 0.5 * std::erfc(-root_half * u);
    const double h = density + u * below;
    return {std::log(h), below / h, density / h};
  }
  const double t = -u;
  double slope, over;  // Phi / h, h / phi
  if (t < 5.0) {
    const double mills = 0.5 * std::erfc(root_half * t) * std::exp(0.5 * t * t + log_root_2pi);
    over = 1.0 - t * mills;
    slope = mills / over;
  } else {
    // Backward recurrence of the ratios of repeated integrals of erfc (Gautschi 1961): all terms
    // positive, nothing cancels. From 40 on, 5 is far enough for double precision.
    double ratio = 0.0;
    for (int k = 40; k > 1; --k) ratio = 1.0 / (t + k * ratio);  // ends at order 1 over order 0
    slope = 1.0 / ratio;
    over = ratio / (t + ratio);
  }
  return {-0.5 * t * t - log_root_2pi + std::log(over), slope, 1.0 / over};
}

// An acquisition value and its derivatives in the posterior's mean and variance.
struct Acquired {
  double value, mean, variance;
};

// best: value to improve on (kLogEi); beta >= 0: the mean plus sqrt(beta) deviations (kUcb).
JB_HOST_DEVICE inline Acquired acquire(int64_t kind, double best, double beta, double mean,
                                       double variance) {
  if (kind == kMean) return {mean, 1.0, 0.0};
  const bool flat = !(variance > kLeastVariance);
  const double sd = std::sqrt(flat ? kLeastVariance : variance);
  const double in_sd = flat ? 0.0 : 0.5 / sd;
  if (kind == kUcb) {
    const double reach = std::sqrt(beta);
    return {mean + reach * sd, 1.0, reach * in_sd};
  }
  const LogImprovement h = log_improvement((mean - best) / sd);
  return {h.value + std::log(sd), h.mean_slope / sd, h.sd_slope / sd * in_sd};
}

}  // namespace jobs_bench
