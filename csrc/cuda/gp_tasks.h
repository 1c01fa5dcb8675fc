#pragma once

#include "gp_contract.h"

// The Gaussian process operators as stages, each so many pieces of work for a team; a stage begins
// when the one before has ended. gp_run.h says which follow on which. Every model of a batch has
// its own room in global memory.

namespace jobs_bench {

// What is added to the diagonal, over the sum of outputscales, until the factorisation succeeds.
constexpr int64_t kJitterSteps = 4;
JB_HOST_DEVICE inline double jitter_step(int64_t rung) {
  const double steps[kJitterSteps] = {0.0, 1e-10, 1e-8, 1e-6};
  return steps[rung];
}

JB_HOST_DEVICE inline int64_t tiles_of(int64_t n) { return (n + kTile - 1) / kTile; }

JB_HOST_DEVICE inline bool is_number(double x) { return x - x == 0.0; }

// Rows of M models, a step of 0 sharing them.
struct GpRows {
  const double* at;
  int64_t n, step;

  JB_HOST_DEVICE const double* of(int64_t m) const { return at + m * step; }
};

// 32 points of one model, of rows X (n, d), by columns.
template <class Team>
JB_BODY void place_points(const Team& team, const GpPlan& plan, const double* theta,
                          const double* X, int64_t i0, int64_t n, int64_t ld, double* to) {
  team.each(plan.columns * kTile, [&](int64_t q) {
    const int64_t k = q / kTile, i = i0 + q % kTile;
    to[k * ld + i] = i < n ? plan_entry(plan.column[k], X + i * plan.d, theta) : 0.0;
  });
}

// A regression of M models: gp_mll, or with `inverse` gp_condition. Null gradients are not wanted.
struct GpRegression {
  GpPlan plan;
  int64_t models, n, noises, y_step;
  GpRows X;
  const double *y, *theta, *noise, *mean;
  double *value, *jitter, *gX, *gy, *gtheta, *gnoise, *gmean;
  double *inverse, *alpha;  // (M, n, n), (M, n)
  double* state;            // (M, 2): rung of the jitter, -1 for none; row without a pivot, -1, or
                            // -2 where the value or a gradient is not finite
  double* room;

  enum Stage {
    kPoints,
    kGram,
    kFactor,
    kSettle,
    kInvert,
    kSolve,
    kWeigh,
    kGather,
    kContract,
    kEnd,
    kCopy,
    kWhole
  };

  JB_HOST_DEVICE int64_t tiles() const { return tiles_of(n); }
  JB_HOST_DEVICE int64_t N() const { return tiles() * kTile; }
  JB_HOST_DEVICE bool gradients() const { return gtheta != nullptr; }

  // Pieces of a stage; of kFactor, step p has fewer.
  JB_HOST_DEVICE int64_t pieces(Stage stage, int64_t step) const {
    const int64_t t = tiles();
    switch (stage) {
      case kGram:
      case kGather:
        return models * (t * (t + 1) / 2);
      case kFactor:
        return models * (t - step);
      case kSettle:
      case kEnd:
      case kWhole:
        return models;
      default:
        return models * t;
    }
  }

  // One model's room.
  struct Room {
    GpSquare square;
    double *points, *z, *alpha, *strips, *sums, *parts, *bad;
  };
  JB_HOST_DEVICE static int64_t square_room(int64_t n) {
    const int64_t N = tiles_of(n) * kTile;
    return N * (N + 1);
  }
  JB_HOST_DEVICE int64_t room_of_one() const {
    const int64_t t = tiles();
    return square_room(n) + N() * (plan.columns + kTile + 3) + t * GpStrip::room(plan) +
           t * (plan.params + 3) + t + 1;
  }
  // `fast`: where the square lies instead, or null.
  JB_HOST_DEVICE Room room_of(int64_t m, double* fast) const {
    double* at = room + m * room_of_one();
    const auto take = [&](int64_t size) {
      at += size;
      return at - size;
    };
    Room r;
    double* square = take(square_room(n));
    r.square.at = fast != nullptr ? fast : square;
    r.square.N = N();
    r.square.ld = N() + 1;
    r.square.inverses = take(N() * kTile);
    r.square.pivots = take(N());
    r.points = take(N() * plan.columns);
    r.z = take(N());
    r.alpha = take(N());
    r.strips = take(tiles() * GpStrip::room(plan));
    r.sums = take(tiles() * plan.params);
    r.parts = take(tiles() * 3);  // sums of log pivots, of z^2, of the adjoint's diagonal
    r.bad = take(tiles() + 1);
    return r;
  }

  JB_HOST_DEVICE const double* theta_of(int64_t m) const { return theta + m * plan.params; }
  JB_HOST_DEVICE double residual(int64_t m, int64_t i) const {
    return i < n ? y[m * y_step + i] - mean[m] : 0.0;
  }
  JB_HOST_DEVICE double added(int64_t m, int64_t i, int64_t rung) const {
    const double jitter = jitter_step(rung) * plan_scale(plan, theta_of(m));
    return noise[m * noises + (noises == 1 ? 0 : i)] + jitter;
  }

  template <class Team>
  JB_BODY void points(const Team& team, const Room& r, int64_t m, int64_t t) const {
    place_points(team, plan, theta_of(m), X.of(m), t * kTile, n, N(), r.points);
  }

  // Tile (t, p) of the covariance with noise and jitter.
  template <class Team>
  JB_PIECE void gram(const Team& team, const Room& r, int64_t m, int64_t t, int64_t p,
                     int64_t rung) const {
    const PlanPoints at{r.points, N()};
    team.each(kTile * kTile, [&](int64_t q) {
      const int64_t i = t * kTile + q / kTile, j = p * kTile + q % kTile;
      double k = i == j ? 1.0 : 0.0;
      if (i < n && j < n) k = plan_covariance(plan, theta_of(m), at, i, at, j);
      if (i < n && i == j) k += added(m, i, rung);
      r.square(i, j) = k;
    });
  }

  // z = W residuals, 32 of them, and their part of the value.
  template <class Team>
  JB_PIECE void solve(const Team& team, const TileScratch& scratch, const Room& r, int64_t m,
                      int64_t t) const {
    double *parts = scratch.tile(0), *logs = scratch.tile(1);
    const int64_t i0 = t * kTile;
    team.each(kTile * 8, [&](int64_t q) {
      const int64_t i = i0 + q % kTile;
      double sum = 0.0;
      for (int64_t j = q / kTile; j < i0 + kTile; j += 8) {
        sum = fused(r.square.inverse(i, j), residual(m, j), sum);
      }
      parts[q] = sum;
    });
    team.each(kTile, [&](int64_t q) {
      double sum = 0.0;
      for (int64_t k = 0; k < 8; ++k) sum += parts[k * kTile + q];
      r.z[i0 + q] = sum;
      logs[q] = log_of(r.square.pivots[i0 + q]);
    });
    team.each(1, [&](int64_t) {
      double log_det = 0.0, quad = 0.0;
      for (int64_t q = 0; q < kTile; ++q) {
        log_det += logs[q];
        quad = fused(r.z[i0 + q], r.z[i0 + q], quad);
      }
      r.parts[3 * t] = log_det;
      r.parts[3 * t + 1] = quad;
    });
  }

  // alpha = W' z, 32 of them.
  template <class Team>
  JB_PIECE void weigh(const Team& team, const TileScratch& scratch, const Room& r, int64_t m,
                      int64_t t) const {
    double* parts = scratch.tile(0);
    const int64_t j0 = t * kTile;
    team.each(kTile * 8, [&](int64_t q) {
      double sum = 0.0;
      for (int64_t i = j0 + q % 8; i < N(); i += 8) {
        sum = fused(r.square.inverse(i, j0 + q / 8), r.z[i], sum);
      }
      parts[q] = sum;
    });
    team.each(kTile, [&](int64_t q) {
      double sum = 0.0;
      for (int64_t k = 0; k < 8; ++k) sum += parts[q * 8 + k];
      r.alpha[j0 + q] = sum;
      if (j0 + q >= n) return;
      if (gy != nullptr) gy[m * n + j0 + q] = -sum;
      if (alpha != nullptr) alpha[m * n + j0 + q] = sum;
    });
  }

  // Strip t of the gradients.
  template <class Team>
  JB_PIECE void contract(const Team& team, const TileScratch& scratch, const Room& r, int64_t m,
                         int64_t t) const {
    const PlanPoints at{r.points, N()};
    const GpStrip strip(plan, r.strips + t * GpStrip::room(plan));
    const auto adjoint = [&](int64_t i, int64_t j) {
      const double k = i / kTile >= j / kTile ? r.square(i, j) : r.square(j, i);
      return 0.5 * (r.alpha[i] * r.alpha[j] - k);
    };
    const int64_t i0 = t * kTile;
    contract_strip(team, scratch, plan, theta_of(m), at, i0, n, at, n, adjoint, strip);
    sum_strip(team, plan, strip, r.sums + t * plan.params);
    if (gX != nullptr) {
      finish_rows(team, plan, theta_of(m), X.of(m), i0, n, 2.0, false, strip, gX + m * n * plan.d);
    }
    team.each(1, [&](int64_t) {
      double trace = 0.0;
      for (int64_t i = i0; i < n && i < i0 + kTile; ++i) {
        trace += adjoint(i, i);
        if (noises > 1) gnoise[m * noises + i] = adjoint(i, i);
      }
      r.parts[3 * t + 2] = trace;
    });
  }

  template <class Team>
  JB_PIECE void end(const Team& team, const Room& r, int64_t m) const {
    const int64_t rung = static_cast<int64_t>(state[2 * m]);
    const double step = jitter_step(rung);
    if (gradients())
      finish_theta(team, plan, theta_of(m), r.sums, tiles(), gtheta + m * plan.params);
    team.each(1, [&](int64_t) {
      double log_det = 0.0, quad = 0.0, trace = 0.0, total = 0.0;
      for (int64_t t = 0; t < tiles(); ++t) {
        log_det += r.parts[3 * t];
        quad += r.parts[3 * t + 1];
        if (gradients()) trace += r.parts[3 * t + 2];
      }
      for (int64_t i = 0; i < n; ++i) total += r.alpha[i];
      const double log_2_pi = 1.8378770664093454836;
      jitter[m] = step * plan_scale(plan, theta_of(m));
      if (value == nullptr) return;
      value[m] = -0.5 * (quad + log_det + static_cast<double>(n) * log_2_pi);
      gmean[m] = total;
      bool fine = is_number(value[m]);
      if (noises == 1) gnoise[m] = trace;
      for (int32_t q = 0; q < plan.terms; ++q) {
        gtheta[m * plan.params + plan.term[q].scale] += step * trace;  // jitter follows the scales
      }
      for (int32_t k = 0; k < plan.params; ++k) {
        fine = fine && is_number(gtheta[m * plan.params + k]);
      }
      if (!fine) state[2 * m + 1] = -2.0;
    });
  }

  // Strip t of W, whole rows.
  template <class Team>
  JB_PIECE void copy(const Team& team, const Room& r, int64_t m, int64_t t) const {
    const int64_t i0 = t * kTile, rows = n - i0 < kTile ? n - i0 : kTile;
    team.each(rows * n, [&](int64_t q) {
      const int64_t i = i0 + q / n, j = q % n;
      inverse[(m * n + i) * n + j] = j <= i ? r.square.inverse(i, j) : 0.0;
    });
  }

  // The whole of a model by one team: all stages in turn.
  template <class Team>
  JB_BODY void whole(const Team& team, const TileScratch& scratch, const Room& r, int64_t m) const {
    const int64_t T = tiles();
    for (int64_t t = 0; t < T; ++t) points(team, r, m, t);
    int64_t rung = 0, bad = -1;
    for (; rung < kJitterSteps; ++rung) {
      bad = -1;
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t p = 0; p <= t; ++p) gram(team, r, m, t, p, rung);
      }
      for (int64_t p = 0; p < T && bad < 0; ++p) {
        factor_tile(team, scratch, r.square, p, n);
        bad = static_cast<int64_t>(scratch.tile(0)[kTile]);
        keep_tile(team, scratch, r.square, p);
        for (int64_t t = p + 1; t < T && bad < 0; ++t) panel_tile(team, scratch, r.square, t, p);
      }
      if (bad < 0) break;
    }
    team.each(1, [&](int64_t) {
      state[2 * m] = static_cast<double>(bad < 0 ? rung : -1);
      state[2 * m + 1] = static_cast<double>(bad);
    });
    if (bad >= 0) return;
    for (int64_t p = 0; p < T; ++p) invert_column(team, scratch, r.square, p);
    for (int64_t t = 0; t < T; ++t) solve(team, scratch, r, m, t);
    for (int64_t t = 0; t < T; ++t) weigh(team, scratch, r, m, t);
    for (int64_t t = 0; t < T && inverse != nullptr; ++t) copy(team, r, m, t);
    if (gradients()) {
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t p = 0; p <= t; ++p) gather_tile(team, scratch, r.square, t, p);
      }
      for (int64_t t = 0; t < T; ++t) contract(team, scratch, r, m, t);
    }
    end(team, r, m);
  }

  // Piece `piece` of a stage. step: the rung of kGram and kSettle, the column of kFactor.
  // fast: room for the square, or null.
  template <class Team>
  JB_BODY void run(const Team& team, const TileScratch& scratch, double* fast, Stage stage,
                   int64_t step, int64_t piece) const {
    const int64_t each = pieces(stage, step) / models, m = piece / each;
    int64_t t = piece % each, p = 0;
    if (stage == kGram || stage == kGather) {
      while ((p + 1) * (p + 2) / 2 <= t) ++p;  // row p of the triangle
      const int64_t row = p;
      p = t - p * (p + 1) / 2;
      t = row;
    }
    const Room r = room_of(m, fast);
    if (stage == kWhole) return whole(team, scratch, r, m);
    if (stage == kPoints) {
      if (t == 0) {
        team.each(1, [&](int64_t) { state[2 * m] = state[2 * m + 1] = r.bad[0] = -1.0; });
      }
      return points(team, r, m, t);
    }
    if (stage == kSettle) {
      return team.each(1, [&](int64_t) {
        const double bad = r.bad[tiles()];
        if (state[2 * m] >= 0.0) return;
        state[2 * m + 1] = bad;
        if (bad < 0.0) state[2 * m] = static_cast<double>(step);
      });
    }
    const bool settled = state[2 * m] >= 0.0;
    if (stage == kGram && !settled) return gram(team, r, m, t, p, step);
    if (stage == kFactor && !settled) return factor(team, scratch, r, step, step + t);
    if (!settled) return;
    if (stage == kInvert) return invert_column(team, scratch, r.square, t);
    if (stage == kSolve) return solve(team, scratch, r, m, t);
    if (stage == kWeigh) return weigh(team, scratch, r, m, t);
    if (stage == kGather) return gather_tile(team, scratch, r.square, t, p);
    if (stage == kContract) return contract(team, scratch, r, m, t);
    if (stage == kCopy) return copy(team, r, m, t);
    if (stage == kEnd) return end(team, r, m);
  }

  // Tile (t, p) of the factor. Every team factors the diagonal tile for itself, one keeps it; the
  // row without a pivot goes down the list of steps.
  template <class Team>
  JB_BODY void factor(const Team& team, const TileScratch& scratch, const Room& r, int64_t p,
                      int64_t t) const {
    const double before = r.bad[p];
    double found = before;
    if (before < 0.0) {
      factor_tile(team, scratch, r.square, p, n);
      found = scratch.tile(0)[kTile];
    }
    if (t == p) {
      if (before < 0.0) keep_tile(team, scratch, r.square, p);
      team.each(1, [&](int64_t) { r.bad[p + 1] = found; });
    } else if (found < 0.0) {
      panel_tile(team, scratch, r.square, t, p);
    }
  }
};

// gp_kernel, or with `gtheta` its derivative.
struct GpCovariance {
  GpPlan plan;
  int64_t models;
  GpRows X1, X2;
  const double* theta;
  double* out;                 // (M, n, m)
  const double* grad;          // (M, n, m)
  double *gX1, *gX2, *gtheta;  // (M, n, d), (M, m, d) or null both, (M, params)
  double* room;

  enum Stage { kPoints1, kPoints2, kGram, kRows1, kRows2, kEnd };

  JB_HOST_DEVICE int64_t tiles1() const { return tiles_of(X1.n); }
  JB_HOST_DEVICE int64_t tiles2() const { return tiles_of(X2.n); }

  JB_HOST_DEVICE int64_t pieces(Stage stage, int64_t) const {
    switch (stage) {
      case kGram:
        return models * tiles1() * tiles2();
      case kPoints1:
      case kRows1:
        return models * tiles1();
      case kPoints2:
      case kRows2:
        return models * tiles2();
      default:
        return models;
    }
  }

  JB_HOST_DEVICE int64_t room_of_one() const {
    const int64_t t = tiles1() + tiles2(), strips = gtheta != nullptr ? t : 0;
    return t * kTile * plan.columns + strips * (GpStrip::room(plan) + plan.params);
  }

  template <class Team>
  JB_BODY void run(const Team& team, const TileScratch& scratch, double*, Stage stage, int64_t,
                   int64_t piece) const {
    const int64_t each = pieces(stage, 0) / models, m = piece / each, t = piece % each;
    const int64_t n = X1.n, N1 = tiles1() * kTile, N2 = tiles2() * kTile;
    const double* th = theta + m * plan.params;
    double* points1 = room + m * room_of_one();
    double* points2 = points1 + N1 * plan.columns;
    double* strips = points2 + N2 * plan.columns;
    double* sums = strips + (tiles1() + tiles2()) * GpStrip::room(plan);
    const PlanPoints a{points1, N1}, b{points2, N2};
    if (stage == kPoints1) return place_points(team, plan, th, X1.of(m), t * kTile, n, N1, points1);
    if (stage == kPoints2) {
      return place_points(team, plan, th, X2.of(m), t * kTile, X2.n, N2, points2);
    }
    if (stage == kGram) {
      const int64_t i0 = t / tiles2() * kTile, j0 = t % tiles2() * kTile;
      return team.each(kTile * kTile, [&](int64_t q) {
        const int64_t i = i0 + q / kTile, j = j0 + q % kTile;
        if (i >= n || j >= X2.n) return;
        out[(m * n + i) * X2.n + j] = plan_covariance(plan, th, a, i, b, j);
      });
    }
    const double* g = grad + m * n * X2.n;
    if (stage == kRows1) {
      const GpStrip strip(plan, strips + t * GpStrip::room(plan));
      contract_strip(
          team, scratch, plan, th, a, t * kTile, n, b, X2.n,
          [&](int64_t i, int64_t j) { return g[i * X2.n + j]; }, strip);
      sum_strip(team, plan, strip, sums + t * plan.params);
      if (gX1 == nullptr) return;
      return finish_rows(team, plan, th, X1.of(m), t * kTile, n, 1.0, false, strip,
                         gX1 + m * n * plan.d);
    }
    if (stage == kRows2) {
      const GpStrip strip(plan, strips + (tiles1() + t) * GpStrip::room(plan));
      contract_strip(
          team, scratch, plan, th, b, t * kTile, X2.n, a, n,
          [&](int64_t j, int64_t i) { return g[i * X2.n + j]; }, strip);
      return finish_rows(team, plan, th, X2.of(m), t * kTile, X2.n, 1.0, false, strip,
                         gX2 + m * X2.n * plan.d);
    }
    finish_theta(team, plan, th, sums, tiles1(), gtheta + m * plan.params);
  }
};

// gp_posterior.
struct GpQuery {
  GpPlan plan;
  int64_t models;
  GpRows Xq, X;
  const double *theta, *mean, *inverse, *alpha;
  double *mu, *variance, *mu_x, *variance_x;  // (M, q), (M, q), (M, q, d), (M, q, d)
  double* state;                              // (M, tiles of q): 1 where one is not finite
  double* room;

  enum Stage { kPoints, kStrips };

  JB_HOST_DEVICE int64_t tiles() const { return tiles_of(X.n); }
  JB_HOST_DEVICE int64_t strips() const { return tiles_of(Xq.n); }
  JB_HOST_DEVICE int64_t pieces(Stage stage, int64_t) const {
    return models * (stage == kPoints ? tiles() : strips());
  }
  JB_HOST_DEVICE int64_t strip_room() const {
    return kTile * (plan.columns + 3 * tiles() * kTile) + GpStrip::room(plan);
  }
  JB_HOST_DEVICE int64_t room_of_one() const {
    return tiles() * kTile * plan.columns + strips() * strip_room();
  }

  template <class Team>
  JB_BODY void run(const Team& team, const TileScratch& scratch, double*, Stage stage, int64_t,
                   int64_t piece) const {
    const int64_t each = pieces(stage, 0) / models, m = piece / each, t = piece % each;
    const int64_t N = tiles() * kTile;
    const double* th = theta + m * plan.params;
    double* points = room + m * room_of_one();
    if (stage == kPoints) return place_points(team, plan, th, X.of(m), t * kTile, X.n, N, points);
    strip(team, scratch, m, t, PlanPoints{points, N}, points + N * plan.columns + t * strip_room());
  }

  // 32 queries.
  template <class Team>
  JB_BODY void strip(const Team& team, const TileScratch& scratch, int64_t m, int64_t t,
                     const PlanPoints& seen, double* at) const {
    const int64_t n = X.n, N = tiles() * kTile, q0 = t * kTile, d = plan.d;
    const int64_t rows = Xq.n - q0 < kTile ? Xq.n - q0 : kTile;
    const double *th = theta + m * plan.params, *W = inverse + m * n * n;
    const double *weights = alpha + m * n, *queries = Xq.of(m) + q0 * d;
    double *k = at + kTile * plan.columns, *v = k + kTile * N, *pull = v + kTile * N;
    const PlanPoints asked{at, kTile};
    const GpStrip strip(plan, pull + kTile * N);
    place_points(team, plan, th, queries, 0, rows, kTile, at);
    team.each(kTile * N, [&](int64_t q) {
      const int64_t r = q / N, j = q % N;
      k[q] = r < rows && j < n ? plan_covariance(plan, th, asked, r, seen, j) : 0.0;
    });
    const auto factor = [&](int64_t i, int64_t j) { return j <= i && i < n ? W[i * n + j] : 0.0; };
    for (int64_t j0 = 0; j0 < N; j0 += kTile) {
      multiply_tiles(
          team, scratch, j0 + kTile, [&](int64_t r, int64_t i) { return k[r * N + i]; },
          [&](int64_t c, int64_t i) { return factor(j0 + c, i); });
      store(team, scratch, v + j0, N, 1.0);
    }
    for (int64_t j0 = 0; j0 < N; j0 += kTile) {
      multiply_tiles(
          team, scratch, N - j0, [&](int64_t r, int64_t i) { return v[r * N + j0 + i]; },
          [&](int64_t c, int64_t i) { return factor(j0 + i, j0 + c); });
      store(team, scratch, pull + j0, N, -2.0);
    }
    double *means = scratch.tile(0), *seens = scratch.tile(1), *left = scratch.tile(2);
    team.each(kTile * 8, [&](int64_t q) {
      const int64_t r = q / 8;
      double mean_part = 0.0, seen_part = 0.0;
      for (int64_t j = q % 8; j < n; j += 8) {
        mean_part = fused(k[r * N + j], weights[j], mean_part);
        seen_part = fused(v[r * N + j], v[r * N + j], seen_part);
      }
      means[q] = mean_part;
      seens[q] = seen_part;
    });
    double* flag = state + m * strips() + t;
    team.each(1, [&](int64_t) { *flag = 0.0; });
    team.each(rows, [&](int64_t r) {
      double mean_sum = mean[m], seen_sum = 0.0;
      for (int64_t p = 0; p < 8; ++p) {
        mean_sum += means[r * 8 + p];
        seen_sum += seens[r * 8 + p];
      }
      left[r] = plan_variance(plan, th, asked, r, queries + r * d, nullptr) - seen_sum;
      mu[m * Xq.n + q0 + r] = mean_sum;
      variance[m * Xq.n + q0 + r] = left[r] > 0.0 ? left[r] : 0.0;
      left[kTile + r] = is_number(mean_sum) && is_number(left[r]) ? 0.0 : 1.0;
    });
    team.each(1, [&](int64_t) {
      for (int64_t r = 0; r < rows; ++r) *flag += left[kTile + r];
    });
    const auto cut = [&](int64_t r) { return !(variance[m * Xq.n + q0 + r] > 0.0); };
    double *to_mu = mu_x + m * Xq.n * d, *to_variance = variance_x + m * Xq.n * d;
    contract_strip(
        team, scratch, plan, th, asked, 0, rows, seen, n,
        [&](int64_t, int64_t j) { return weights[j]; }, strip);
    finish_rows(team, plan, th, queries, 0, rows, 1.0, false, strip, to_mu + q0 * d);
    contract_strip(
        team, scratch, plan, th, asked, 0, rows, seen, n,
        [&](int64_t r, int64_t j) { return cut(r) ? 0.0 : pull[r * N + j]; }, strip);
    finish_rows(team, plan, th, queries, 0, rows, 1.0, false, strip, to_variance + q0 * d);
    team.each(rows, [&](int64_t r) {
      if (cut(r)) return;
      plan_variance(plan, th, asked, r, queries + r * d, to_variance + (q0 + r) * d);
    });
  }

  // scratch.sum() times `by` to 32 columns of a strip.
  template <class Team>
  JB_BODY static void store(const Team& team, const TileScratch& scratch, double* to, int64_t ld,
                            double by) {
    team.each(kTile * kTile, [&](int64_t q) {
      to[q / kTile * ld + q % kTile] = by * scratch.sum()[q / kTile * kPitch + q % kTile];
    });
  }
};

}  // namespace jobs_bench
