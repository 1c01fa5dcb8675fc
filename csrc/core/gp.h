#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "philox.h"

// Covariance of one pair of points: the arithmetic, shared by all devices. The definition of right
// is jobs_bench/ops/_gp_reference.py; names and constants are its. A covariance is a sum of terms
//
//     scale * shape(a) * exp(-(a + h)) * product of fidelity factors
//
// with a^2 proportional to the squared scaled distance r2 over the smooth columns and h the
// weighted Hamming distance over the named ones. Fused multiply-adds are written out and the build
// contracts nothing, so that every instruction set gives the same bits.

// Always inlined: a function compiled for one instruction set is then free to use it throughout.
#if defined(__GNUC__) && !defined(__CUDACC__)
#define JB_FLAT inline __attribute__((always_inline))
#else
#define JB_FLAT inline
#endif

namespace jobs_bench {

enum GpKind : int64_t { kMatern12 = 0, kMatern32 = 1, kMatern52 = 2, kRbf = 3 };
constexpr int64_t kGpKinds = 4;

// Factors over a fidelity column, and how many parameters each has.
enum GpForm : int64_t { kDecay = 0, kTruncated = 1, kLinearTruncated = 2 };
constexpr int64_t kGpForms = 3;
constexpr int64_t kGpFormParams[kGpForms] = {3, 1, 2};
constexpr int64_t kMostFormParams = 3;
constexpr int64_t kMostFactors = 4;  // of one term

constexpr double kFarAway = 1e12;    // squared distances are cut here, where every covariance is 0
constexpr double kRootFloor = 1e-8;  // root columns are cut here from below, before the root

JB_HOST_DEVICE JB_FLAT double fused(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

// exp(x), relative error about 1e-16 (1 + |x|); exactly 0 below -708, infinite above 709.
// Branch-free: ln 2 is split so that n * high is exact.
JB_HOST_DEVICE JB_FLAT double exp_of(double x) {
  const double magic = 6755399441055744.0;  // 1.5 * 2^52
  const double low = x < -708.0 ? -708.0 : x;
  const double y = low > 709.0 ? 709.0 : low;
  const double t = fused(y, 1.4426950408889634074, magic);
  const double n = t - magic;
  double r = fused(n, -6.93147180369123816490e-01, y);
  r = fused(n, -1.90821492927058770002e-10, r);
  double p = 1.0 / 6227020800.0;
  p = fused(p, r, 1.0 / 479001600.0);
  p = fused(p, r, 1.0 / 39916800.0);
  p = fused(p, r, 1.0 / 3628800.0);
  p = fused(p, r, 1.0 / 362880.0);
  p = fused(p, r, 1.0 / 40320.0);
  p = fused(p, r, 1.0 / 5040.0);
  p = fused(p, r, 1.0 / 720.0);
  p = fused(p, r, 1.0 / 120.0);
  p = fused(p, r, 1.0 / 24.0);
  p = fused(p, r, 1.0 / 6.0);
  p = fused(p, r, 0.5);
  p = fused(p, r, 1.0);
  p = fused(p, r, 1.0);
  uint64_t exponent, bits;
  memcpy(&exponent, &t, 8);
  memcpy(&bits, &p, 8);
  bits += exponent << 52;
  memcpy(&p, &bits, 8);
  p = x > 709.0 ? HUGE_VAL : p;
  return x < -708.0 ? 0.0 : p;
}

// log(x) of a finite normal x > 0, relative error about 1e-16 away from x = 1, absolute near it.
JB_HOST_DEVICE JB_FLAT double log_of(double x) {
  const uint64_t one = 0x3ff0000000000000u, half = 0x0008000000000000u;
  uint64_t bits, up;
  memcpy(&bits, &x, 8);
  up = bits + half + (half >> 2);  // mantissas from 1.375 on count down from the next power
  const uint64_t power = up >> 52;
  bits -= (power << 52) - one;
  double m, n;
  memcpy(&m, &bits, 8);
  const uint64_t shifted = power + 0x4330000000000000u;  // 2^52 + power
  memcpy(&n, &shifted, 8);
  n -= 4503599627370496.0 + 1023.0;
  const double z = (m - 1.0) / (m + 1.0), z2 = z * z;
  double p = 1.0 / 21.0;
  p = fused(p, z2, 1.0 / 19.0);
  p = fused(p, z2, 1.0 / 17.0);
  p = fused(p, z2, 1.0 / 15.0);
  p = fused(p, z2, 1.0 / 13.0);
  p = fused(p, z2, 1.0 / 11.0);
  p = fused(p, z2, 1.0 / 9.0);
  p = fused(p, z2, 1.0 / 7.0);
  p = fused(p, z2, 1.0 / 5.0);
  p = fused(p, z2, 1.0 / 3.0);
  const double series = fused(2.0 * z * z2, p, 2.0 * z);
  return fused(n, 6.93147180369123816490e-01, fused(n, 1.90821492927058770002e-10, series));
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

// Covariance over exp(-(a + h)), with a the reach of r2.
template <int64_t kind>
JB_HOST_DEVICE JB_FLAT double gp_shape(double r2, double a) {
  if (kind == kMatern32) return 1.0 + a;
  if (kind == kMatern52) return fused(5.0 / 3.0, r2, 1.0 + a);
  return 1.0;
}

// -d covariance / d r2, over exp(-(a + h)). Matern-1/2 has none at r2 = 0: 0 by convention.
template <int64_t kind>
JB_HOST_DEVICE JB_FLAT double gp_slope(double r2, double a) {
  if (kind == kMatern12) return r2 > 0.0 ? 0.5 / (r2 > 0.0 ? a : 1.0) : 0.0;
  if (kind == kMatern32) return 1.5;
  if (kind == kMatern52) return fused(5.0 / 6.0, a, 5.0 / 6.0);
  return 0.5;
}

// A fidelity factor of t and s with parameters p:
//   decay             p0 power, p1 lengthscale, p2 offset
//   truncated         p0 power
//   linear_truncated  p0 bias, p1 power
template <int64_t form>
JB_HOST_DEVICE JB_FLAT double gp_factor(double t, double s, double p0, double p1, double p2) {
  if (form == kDecay) return p2 + exp_of(-p0 * log_of(1.0 + (t + s) / p1));
  const double power = form == kTruncated ? p0 : p1;
  const double value = (1.0 - t) * (1.0 - s) * exp_of(power * log_of(fused(t, s, 1.0)));
  return form == kTruncated ? value : fused(p0, value, 1.0);
}

// Its slopes in p0, p1, p2 and t; the one in s is that in t with the two exchanged.
template <int64_t form>
JB_HOST_DEVICE JB_FLAT void gp_factor_slopes(double t, double s, double p0, double p1, double& by_0,
                                             double& by_1, double& by_2, double& by_t) {
  if (form == kDecay) {
    const double far = (t + s) / p1, base = 1.0 + far, log_base = log_of(base);
    const double q = exp_of(-p0 * log_base), fall = p0 * q / (base * p1);
    by_0 = -q * log_base;
    by_1 = fall * far;
    by_2 = 1.0;
    by_t = -fall;
    return;
  }
  const double power = form == kTruncated ? p0 : p1, bias = form == kTruncated ? 1.0 : p0;
  const double base = fused(t, s, 1.0), log_base = log_of(base);
  const double q = exp_of(power * log_base), value = (1.0 - t) * (1.0 - s) * q;
  const double by_power = bias * value * log_base;
  by_0 = form == kTruncated ? by_power : value;
  by_1 = form == kTruncated ? 0.0 : by_power;
  by_2 = 0.0;
  by_t = bias * (value * power * s / base - (1.0 - s) * q);
}

}  // namespace jobs_bench
