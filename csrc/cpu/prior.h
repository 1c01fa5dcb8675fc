#pragma once

#include <cmath>
#include <cstdint>

// Log densities of priors and their slopes. The definition of right is
// jobs_bench/ops/_gp_priors.py; names and order are its.

namespace jobs_bench {

enum class PriorKind : int64_t { kNone = 0, kLogNormal = 1, kGamma = 2, kNormal = 3 };
constexpr int64_t kPriorKinds = 4;

// A density over one number. a, b: location and scale, for Gamma concentration and rate.
class Prior {
 public:
  struct At {
    double value, slope;
  };

  Prior(PriorKind kind, double a, double b) : kind_(kind), a_(a), b_(b) {
    if (kind == PriorKind::kGamma) constant_ = a * std::log(b) - std::lgamma(a);
    if (kind == PriorKind::kLogNormal || kind == PriorKind::kNormal) {
      constant_ = -0.9189385332046727 - std::log(b);  // log sqrt(2 pi)
    }
  }

  // Log density and its slope at x, above 0 unless Normal; without a prior, 0.
  At at(double x) const {
    switch (kind_) {
      case PriorKind::kLogNormal: {
        const double u = std::log(x), z = (u - a_) / b_;
        return {constant_ - u - 0.5 * z * z, -(1.0 + z / b_) / x};
      }
      case PriorKind::kGamma:
        return {constant_ + (a_ - 1.0) * std::log(x) - b_ * x, (a_ - 1.0) / x - b_};
      case PriorKind::kNormal: {
        const double z = (x - a_) / b_;
        return {constant_ - 0.5 * z * z, -z / b_};
      }
      case PriorKind::kNone:
        break;
    }
    return {0.0, 0.0};
  }

 private:
  PriorKind kind_;
  double a_, b_, constant_ = 0.0;
};

}  // namespace jobs_bench
