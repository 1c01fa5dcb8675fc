#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "philox.h"

// Covariance of one pair of points: the arithmetic, shared by all devices. The definition of right
// is jobs_bench/ops/_gp_reference.py; names and constants are its.
//
// A covariance is  scale * shape(a) * exp(-(a + h))  with a^2 proportional to the squared scaled
// distance r2 over the smooth columns and h the weighted Hamming distance over the named ones. A
// further factor (a fidelity, say) multiplies the result and needs no change here.

// Always inlined: a function compiled for one instruction set is then free to use it throughout.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define JB_FLAT inline __attribute__((always_inline))
#else
#define JB_FLAT inline
#endif

namespace jobs_bench {

enum GpKind : int64_t { kMatern12 = 0, kMatern32 = 1, kMatern52 = 2, kRbf = 3 };
constexpr int64_t kGpKinds = 4;
constexpr double kFarAway = 1e12;  // squared distances are cut here, where every covariance is 0

// exp(x) for x <= 0, relative error about 1e-16 (1 + |x|); exactly 0 below -708. Branch-free, right
// with and without fused multiply-adds: ln 2 is split so that n * high is exact.
JB_HOST_DEVICE JB_FLAT double exp_neg(double x) {
  const double magic = 6755399441055744.0;  // 1.5 * 2^52
  const double y = x < -708.0 ? -708.0 : x;
  const double t = y * 1.4426950408889634074 + magic;
  const double n = t - magic;
  double r = y - n * 6.93147180369123816490e-01;
  r = r - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t exponent, bits;
  memcpy(&exponent, &t, 8);
  memcpy(&bits, &p, 8);
  bits += exponent << 52;
  memcpy(&p, &bits, 8);
  return x < -708.0 ? 0.0 : p;
}

// a of r2; for the Gaussian kernel, where no root is taken, r2 / 2.
template <int64_t kind>
JB_HOST_DEVICE JB_FLAT double gp_reach(double r2) {
  using std::sqrt;
  if (kind == kMatern12) return sqrt(r2);
  if (kind == kMatern32) return 1.7320508075688772 * sqrt(r2);
  if (kind == kMatern52) return 2.23606797749979 * sqrt(r2);
  return 0.5 * r2;
}

// Covariance over exp(-(a + h)).
template <int64_t kind>
JB_HOST_DEVICE JB_FLAT double gp_shape(double r2) {
  const double a = gp_reach<kind>(r2);
  if (kind == kMatern32) return 1.0 + a;
  if (kind == kMatern52) return 1.0 + a + (5.0 / 3.0) * r2;
  return 1.0;
}

// -d covariance / d r2, over exp(-(a + h)). Matern-1/2 has none at r2 = 0: 0 by convention.
template <int64_t kind>
JB_HOST_DEVICE JB_FLAT double gp_slope(double r2) {
  const double a = gp_reach<kind>(r2);
  if (kind == kMatern12) return r2 > 0.0 ? 0.5 / (r2 > 0.0 ? a : 1.0) : 0.0;
  if (kind == kMatern32) return 1.5;
  if (kind == kMatern52) return (5.0 / 6.0) * (1.0 + a);
  return 0.5;
}

}  // namespace jobs_bench
