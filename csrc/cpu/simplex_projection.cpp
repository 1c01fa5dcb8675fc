#include "simplex_projection.h"

#include <algorithm>
#include <cmath>

namespace jobs_bench {
namespace {

constexpr int kPieces = 200;  // bisection alone needs 64

// Excess of a decreasing function at a point, and the root of the piece that the point is on.
struct Piece {
  double excess, root;
};

// Root of a decreasing function in [lo, hi]: from piece to piece, halving where a piece's root
// leads out of what is left.
template <class Function>
double decreasing_root(double lo, double hi, const Function& f) {
  double t = 0.5 * (lo + hi);
  for (int i = 0; i < kPieces; ++i) {
    const Piece piece = f(t);
    if (piece.excess == 0.0) return t;
    (piece.excess > 0.0 ? lo : hi) = t;
    if (piece.root == t) return t;  // on its own piece's root, but for rounding
    const bool inside = piece.root > lo && piece.root < hi;
    const double next = inside ? piece.root : 0.5 * (lo + hi);
    if (next == t || next <= lo || next >= hi) return next;
    t = next;
  }
  return t;
}

}  // namespace

void project_flat(int64_t k, const double* x, const double* low, const double* high, double* out) {
  double lo = x[0] - high[0], hi = x[0] - low[0];
  for (int64_t i = 1; i < k; ++i) {
    lo = std::min(lo, x[i] - high[i]);
    hi = std::max(hi, x[i] - low[i]);
  }
  const double shift = decreasing_root(lo, hi, [&](double t) {
    double sum = 0.0, clipped = 0.0, free = 0.0, count = 0.0;
    for (int64_t i = 0; i < k; ++i) {
      const double v = x[i] - t, c = std::clamp(v, low[i], high[i]);
      sum += c;
      if (c == v) {
        free += x[i];
        count += 1.0;
      } else {
        clipped += c;
      }
    }
    return Piece{sum - 1.0, (free + clipped - 1.0) / count};
  });
  for (int64_t i = 0; i < k; ++i) out[i] = std::clamp(x[i] - shift, low[i], high[i]);
}

void project_sphere(int64_t k, const double* x, const double* low, const double* high,
                    double* out) {
  // clip(s x) for the one scale s > 0 that has norm 1: s decreasing in 1 / s. Coordinates at or
  // below 0 count as barely above, so that they rise last, where nothing else can.
  double top = 0.0;
  for (int64_t i = 0; i < k; ++i) top = std::max(top, x[i]);
  const double floor = top > 0.0 ? 1e-12 * top : 1.0;
  const auto up = [&](int64_t i) { return std::max(x[i], floor); };
  const double most = std::max(top, floor), hi = most * 1e9;
  const double inverse = decreasing_root(0.0, hi, [&](double t) {
    double sum = 0.0, clipped = 0.0, free = 0.0;
    for (int64_t i = 0; i < k; ++i) {
      const double v = up(i) / t, c = std::clamp(v, low[i], high[i]);
      sum += c * c;
      if (c == v) {
        free += up(i) * up(i);
      } else {
        clipped += c * c;
      }
    }
    return Piece{sum - 1.0, std::sqrt(free / (1.0 - clipped))};
  });
  for (int64_t i = 0; i < k; ++i) out[i] = std::clamp(up(i) / inverse, low[i], high[i]);
}

double project_cone(int64_t k, const double* g, const double* a, const double* x, const double* low,
                    const double* high, double* out) {
  const auto normal = [&](int64_t i) { return a != nullptr ? a[i] : 1.0; };
  const auto held = [&](int64_t i, double v) {
    return (v < 0.0 && x[i] <= low[i]) || (v > 0.0 && x[i] >= high[i]);
  };
  double lo = 0.0, hi = 0.0;
  bool any = false;
  for (int64_t i = 0; i < k; ++i) {
    if (!(normal(i) > 0.0)) continue;
    const double at = g[i] / normal(i);
    lo = any ? std::min(lo, at) : at;
    hi = any ? std::max(hi, at) : at;
    any = true;
  }
  const double multiplier = decreasing_root(lo, hi, [&](double t) {
    double sum = 0.0, up = 0.0, down = 0.0;
    for (int64_t i = 0; i < k; ++i) {
      const double v = g[i] - t * normal(i);
      if (held(i, v)) continue;
      sum += normal(i) * v;
      up += normal(i) * g[i];
      down += normal(i) * normal(i);
    }
    return Piece{sum, up / down};
  });
  for (int64_t i = 0; i < k; ++i) {
    const double v = g[i] - multiplier * normal(i);
    out[i] = held(i, v) || low[i] == high[i] ? 0.0 : v;
  }
  return multiplier;
}

}  // namespace jobs_bench
