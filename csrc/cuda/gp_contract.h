#pragma once

#include "gp_tiles.h"

// Gradients of sum(weight(i, j) * covariance(i, j)), 32 rows (a strip) by one team: sums a row and
// parameter in the order of the columns, no two threads to one sum.

namespace jobs_bench {

constexpr int64_t kAcross = 16;  // columns of pairs at a time
constexpr int64_t kAcrossPitch = kAcross + 1;
static_assert(7 * kTile * kAcrossPitch <= kScratch);

struct GpStrip {
  double* of_theta;   // (params, 32) running sums
  double* of_points;  // (columns, 32), with respect to the points as they lie; fidelities: over the
                      // term's scale

  // Numbers of room that a strip needs.
  JB_HOST_DEVICE static int64_t room(const GpPlan& plan) {
    return (plan.params + plan.columns) * kTile;
  }
  JB_HOST_DEVICE GpStrip(const GpPlan& plan, double* at)
      : of_theta(at), of_points(at + plan.params * kTile) {}
};

// One term over 32 x 16 pairs; a, b padded to multiples of 32 points.
template <class Team, class Weight>
JB_PIECE void contract_term(const Team& team, const TileScratch& scratch, const PlanTerm& t,
                            const double* theta, const PlanPoints& a, int64_t i0, int64_t n,
                            const PlanPoints& b, int64_t j0, int64_t m, const Weight& weight,
                            const GpStrip& strip) {
  const auto part = [&](int64_t k) { return scratch.at + k * kTile * kAcrossPitch; };
  double *pull = part(0), *whole = part(1), *base = part(2), *by = part(3);
  team.each(kTile * kAcross, [&](int64_t q) {
    const int64_t r = q / kAcross, c = q % kAcross, at = r * kAcrossPitch + c;
    pull[at] = whole[at] = base[at] = 0.0;
    if (i0 + r >= n || j0 + c >= m) return;
    const PlanRadial pair = plan_radial(t, theta, a, i0 + r, b, j0 + c);
    const double e = weight(i0 + r, j0 + c) * pair.e;
    double w = theta[t.scale] * plan_slope(t.kind, pair.r2, pair.reach) * e;
    double u = plan_shape(t.kind, pair.r2, pair.reach) * e;
    base[at] = u;
    for (int32_t k = 0; k < t.factors; ++k) {
      const double f = plan_factor(t, theta, k, a, i0 + r, b, j0 + c);
      w *= f;
      u *= f;
    }
    pull[at] = w;
    whole[at] = u;
  });
  const int64_t radial = t.smooth + t.names;
  team.each((radial + 1) * kTile, [&](int64_t q) {
    const int64_t k = q / kTile, r = q % kTile, column = t.column + k;
    const double *w = pull + r * kAcrossPitch, *u = whole + r * kAcrossPitch;
    const double x = k < radial ? a(column, i0 + r) : 0.0;
    double sum = 0.0, force = 0.0;
    for (int64_t c = 0; c < kAcross; ++c) {
      if (k < t.smooth) {
        const double delta = x - b(column, j0 + c), f = w[c] * delta;
        sum = fused(f, delta, sum);
        force += f;
      } else {
        sum += k == radial || x != b(column, j0 + c) ? u[c] : 0.0;
      }
    }
    strip.of_theta[(k < radial ? t.param + k : t.scale) * kTile + r] += sum;
    if (k < t.smooth) strip.of_points[column * kTile + r] += -2.0 * force;
  });
  for (int32_t k = 0; k < t.factors; ++k) {
    const PlanFactor factor(t, theta, k);
    const int64_t column = t.column + radial + k, params = PlanFactor::params(factor.form);
    team.each(kTile * kAcross, [&](int64_t q) {
      const int64_t r = q / kAcross, c = q % kAcross, at = r * kAcrossPitch + c;
      double slopes[4] = {}, others = base[at];
      if (i0 + r < n && j0 + c < m) {
        factor.slopes(a(column, i0 + r), b(column, j0 + c), slopes);
        for (int32_t o = 0; o < t.factors; ++o) {
          if (o != k) others *= plan_factor(t, theta, o, a, i0 + r, b, j0 + c);
        }
      }
      for (int64_t s = 0; s < 4; ++s) by[s * kTile * kAcrossPitch + at] = others * slopes[s];
    });
    team.each((params + 1) * kTile, [&](int64_t q) {
      const int64_t s = q / kTile, r = q % kTile;
      const double* from = by + (s < params ? s : 3) * kTile * kAcrossPitch + r * kAcrossPitch;
      double sum = 0.0;
      for (int64_t c = 0; c < kAcross; ++c) sum += from[c];
      double* to = s < params ? strip.of_theta + (factor.first + s) * kTile
                              : strip.of_points + column * kTile;
      to[r] += sum;
    });
  }
}

// All pairs of rows [i0, i0 + 32) of n and all m columns.
template <class Team, class Weight>
JB_BODY void contract_strip(const Team& team, const TileScratch& scratch, const GpPlan& plan,
                            const double* theta, const PlanPoints& a, int64_t i0, int64_t n,
                            const PlanPoints& b, int64_t m, const Weight& weight,
                            const GpStrip& strip) {
  team.each(GpStrip::room(plan), [&](int64_t q) { strip.of_theta[q] = 0.0; });
  for (int64_t j0 = 0; j0 < m; j0 += kAcross) {
    for (int32_t q = 0; q < plan.terms; ++q) {
      contract_term(team, scratch, plan.term[q], theta, a, i0, n, b, j0, m, weight, strip);
    }
  }
}

// The strip's gradients to its rows X (n, d), times `factor`, written to gX; where `add`, added.
template <class Team>
JB_BODY void finish_rows(const Team& team, const GpPlan& plan, const double* theta, const double* X,
                         int64_t i0, int64_t n, double factor, bool add, const GpStrip& strip,
                         double* gX) {
  const int64_t rows = n - i0 < kTile ? n - i0 : kTile;
  team.each(rows * plan.d, [&](int64_t q) {
    const int64_t r = q / plan.d, source = q % plan.d, at = (i0 + r) * plan.d + source;
    double sum = 0.0;
    for (int32_t k = 0; k < plan.columns; ++k) {
      const PlanColumn& c = plan.column[k];
      if (c.source != source || (c.length < 0 && c.scale < 0)) continue;
      double by = c.length >= 0 ? factor / theta[c.length] : factor * theta[c.scale];
      if (c.root) by *= gp_root_slope(X[at]);
      sum = fused(by, strip.of_points[k * kTile + r], sum);
    }
    gX[at] = add ? gX[at] + sum : sum;
  });
}

// The strip's part of theta's sums (params).
template <class Team>
JB_BODY void sum_strip(const Team& team, const GpPlan& plan, const GpStrip& strip, double* sums) {
  team.each(plan.params, [&](int64_t k) {
    double sum = 0.0;
    for (int64_t r = 0; r < kTile; ++r) sum += strip.of_theta[k * kTile + r];
    sums[k] = sum;
  });
}

// Gradient to theta from the sums of all strips, (strips, params).
template <class Team>
JB_BODY void finish_theta(const Team& team, const GpPlan& plan, const double* theta,
                          const double* sums, int64_t strips, double* out) {
  team.each(plan.params, [&](int64_t k) {
    double sum = 0.0;
    for (int64_t s = 0; s < strips; ++s) sum += sums[s * plan.params + k];
    const PlanTerm* t = plan.term;
    while (k > t->scale) ++t;
    const int64_t at = k - t->param;
    if (at < t->smooth) {
      out[k] = 2.0 * sum / theta[k];
    } else if (at < t->smooth + t->names) {
      out[k] = -theta[t->scale] * sum;
    } else {
      out[k] = k < t->scale ? theta[t->scale] * sum : sum;
    }
  });
}

}  // namespace jobs_bench
