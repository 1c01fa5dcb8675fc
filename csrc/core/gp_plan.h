#pragma once

#include "gp.h"

// A covariance as flat numbers that a device can be sent, and what it is at one pair of points. The
// same steps in the same order as csrc/cpu/gp_pair_loops.h, so the same bits.

// Large and used often: nvcc compiles it once.
#if defined(__CUDACC__)
#define JB_CALLED inline __noinline__
#else
#define JB_CALLED inline
#endif

namespace jobs_bench {

// One term; its columns among the points: smooth, named, fidelities. Its parameters in theta:
// lengthscales, weights, those of the factors, outputscale.
struct PlanTerm {
  int32_t kind, smooth, names, factors;
  int32_t column, param, scale;  // where its columns and parameters begin; the last parameter
  int32_t forms[kMostFactors];
};

// One column of the points: which column of the rows, whether its root enters, and which parameter
// divides it (a smooth one) or multiplies its gradient (a fidelity); -1 for none.
struct PlanColumn {
  int32_t source, root, length, scale;
};

struct GpPlan {
  int32_t terms, columns, params, d;
  const PlanTerm* term;
  const PlanColumn* column;
};

// Points by columns, `ld` numbers apart: roots taken, smooth columns divided, zeros after the last.
struct PlanPoints {
  const double* at;
  int64_t ld;

  JB_HOST_DEVICE double operator()(int64_t column, int64_t i) const { return at[column * ld + i]; }
};

JB_HOST_DEVICE inline double gp_rooted(double x) {
  using std::sqrt;
  return sqrt(x > kRootFloor ? x : kRootFloor);
}

JB_HOST_DEVICE inline double gp_root_slope(double x) {
  using std::sqrt;
  return x > kRootFloor ? 0.5 / sqrt(x) : 0.0;
}

JB_HOST_DEVICE inline double plan_entry(const PlanColumn& c, const double* x, const double* theta) {
  const double value = c.root ? gp_rooted(x[c.source]) : x[c.source];
  return c.length >= 0 ? value / theta[c.length] : value;
}

JB_HOST_DEVICE inline double plan_reach(int32_t kind, double r2) {
  if (kind == kMatern12) return gp_reach<kMatern12>(r2);
  if (kind == kMatern32) return gp_reach<kMatern32>(r2);
  if (kind == kMatern52) return gp_reach<kMatern52>(r2);
  return gp_reach<kRbf>(r2);
}

JB_HOST_DEVICE inline double plan_shape(int32_t kind, double r2, double a) {
  if (kind == kMatern32) return gp_shape<kMatern32>(r2, a);
  if (kind == kMatern52) return gp_shape<kMatern52>(r2, a);
  return 1.0;
}

JB_HOST_DEVICE inline double plan_slope(int32_t kind, double r2, double a) {
  if (kind == kMatern12) return gp_slope<kMatern12>(r2, a);
  if (kind == kMatern32) return gp_slope<kMatern32>(r2, a);
  if (kind == kMatern52) return gp_slope<kMatern52>(r2, a);
  return gp_slope<kRbf>(r2, a);
}

// What the distance of two points gives.
struct PlanRadial {
  double r2, reach, e;  // squared over the smooth columns, cut; a; exp(-(a + h))
};

JB_HOST_DEVICE JB_CALLED PlanRadial plan_radial(const PlanTerm& t, const double* theta,
                                                const PlanPoints& a, int64_t i, const PlanPoints& b,
                                                int64_t j) {
  double sum = 0.0, far = 0.0;
  for (int32_t k = 0; k < t.smooth; ++k) {
    const double delta = a(t.column + k, i) - b(t.column + k, j);
    sum = fused(delta, delta, sum);
  }
  const int32_t named = t.column + t.smooth;
  for (int32_t k = 0; k < t.names; ++k) {
    far += a(named + k, i) != b(named + k, j) ? theta[t.param + t.smooth + k] : 0.0;
  }
  const double r2 = sum < kFarAway ? sum : kFarAway, reach = plan_reach(t.kind, r2);
  return {r2, reach, exp_of(-(reach + far))};
}

// Parameters of factor k, from theta[first] on; those that its form lacks are 0.
struct PlanFactor {
  int32_t form, first;
  double p[kMostFormParams];

  JB_HOST_DEVICE PlanFactor(const PlanTerm& t, const double* theta, int32_t k)
      : form(t.forms[k]), first(t.param + t.smooth + t.names) {
    for (int32_t q = 0; q < k; ++q) first += params(t.forms[q]);
    for (int32_t q = 0; q < kMostFormParams; ++q) p[q] = q < params(form) ? theta[first + q] : 0.0;
  }

  JB_HOST_DEVICE static int32_t params(int32_t form) {
    return form == kDecay ? 3 : form == kTruncated ? 1 : 2;
  }

  JB_HOST_DEVICE JB_CALLED double value(double t, double s) const {
    if (form == kDecay) return gp_factor<kDecay>(t, s, p[0], p[1], p[2]);
    if (form == kTruncated) return gp_factor<kTruncated>(t, s, p[0], p[1], p[2]);
    return gp_factor<kLinearTruncated>(t, s, p[0], p[1], p[2]);
  }

  // by: slopes in the three parameters, and in t.
  JB_HOST_DEVICE JB_CALLED void slopes(double t, double s, double* by) const {
    if (form == kDecay) {
      gp_factor_slopes<kDecay>(t, s, p[0], p[1], by[0], by[1], by[2], by[3]);
    } else if (form == kTruncated) {
      gp_factor_slopes<kTruncated>(t, s, p[0], p[1], by[0], by[1], by[2], by[3]);
    } else {
      gp_factor_slopes<kLinearTruncated>(t, s, p[0], p[1], by[0], by[1], by[2], by[3]);
    }
  }
};

JB_HOST_DEVICE inline double plan_factor(const PlanTerm& t, const double* theta, int32_t k,
                                         const PlanPoints& a, int64_t i, const PlanPoints& b,
                                         int64_t j) {
  const int32_t column = t.column + t.smooth + t.names + k;
  return PlanFactor(t, theta, k).value(a(column, i), b(column, j));
}

JB_HOST_DEVICE inline double plan_covariance(const GpPlan& plan, const double* theta,
                                             const PlanPoints& a, int64_t i, const PlanPoints& b,
                                             int64_t j) {
  double sum = 0.0;
  for (int32_t q = 0; q < plan.terms; ++q) {
    const PlanTerm& t = plan.term[q];
    const PlanRadial at = plan_radial(t, theta, a, i, b, j);
    double value = plan_shape(t.kind, at.r2, at.reach) * at.e;
    for (int32_t k = 0; k < t.factors; ++k) value *= plan_factor(t, theta, k, a, i, b, j);
    const double scale = theta[t.scale];
    sum = q > 0 ? fused(scale, value, sum) : scale * value;
  }
  return sum;
}

// Sum of outputscales, in which jitter is measured.
JB_HOST_DEVICE inline double plan_scale(const GpPlan& plan, const double* theta) {
  double sum = 0.0;
  for (int32_t q = 0; q < plan.terms; ++q) sum += theta[plan.term[q].scale];
  return sum;
}

// Prior variance of point i, and unless by_x is null its gradient to the row x (d), added to it.
JB_HOST_DEVICE inline double plan_variance(const GpPlan& plan, const double* theta,
                                           const PlanPoints& a, int64_t i, const double* x,
                                           double* by_x) {
  double sum = 0.0;
  for (int32_t q = 0; q < plan.terms; ++q) {
    const PlanTerm& t = plan.term[q];
    const int32_t first = t.column + t.smooth + t.names;
    double product = theta[t.scale];
    for (int32_t k = 0; by_x != nullptr && k < t.factors; ++k) {
      const PlanColumn& c = plan.column[first + k];
      double by[4], others = product;
      PlanFactor(t, theta, k).slopes(a(first + k, i), a(first + k, i), by);
      for (int32_t o = 0; o < t.factors; ++o) {
        others *= o == k ? 2.0 * by[3] : plan_factor(t, theta, o, a, i, a, i);
      }
      by_x[c.source] += c.root ? others * gp_root_slope(x[c.source]) : others;
    }
    for (int32_t k = 0; k < t.factors; ++k) product *= plan_factor(t, theta, k, a, i, a, i);
    sum += product;
  }
  return sum;
}

}  // namespace jobs_bench
