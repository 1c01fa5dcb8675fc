#include "lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace jobs_bench {
namespace {

using Vector = std::vector<double>;

constexpr double kArmijo = 1e-4;    // decrease, over what the slope promises
constexpr double kCurvature = 0.9;  // slope left, over the first slope
constexpr int64_t kTrials = 20;     // of one line search
constexpr double kWall = std::numeric_limits<double>::infinity();

double dot(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A point of the path x + t d, projected.
struct Point {
  double t = 0.0, value = kWall, slope = 0.0;
  Vector x, g;
};

// Steps s and what the gradient changed by, y, oldest first.
class Memory {
 public:
  explicit Memory(int64_t most) : most_(static_cast<size_t>(most)) {}

  void clear() { pairs_.clear(); }
  bool empty() const { return pairs_.empty(); }

  void add(const Vector& s, const Vector& y) {
    if (dot(s, y) <= 1e-10 * dot(y, y)) return;
    if (pairs_.size() == most_) pairs_.erase(pairs_.begin());
    pairs_.push_back({s, y, 0.0, 0.0});
  }

  // -H g on the variables marked free, by the two-loop recursion over the pairs' free parts.
  Vector direction(const Vector& g, const std::vector<bool>& free) {
    const size_t n = g.size();
    Vector d(n);
    for (size_t i = 0; i < n; ++i) d[i] = free[i] ? -g[i] : 0.0;
    double scale = 1.0;
    for (size_t k = pairs_.size(); k-- > 0;) {
      Pair& p = pairs_[k];
      double sy = 0.0, yy = 0.0, sd = 0.0;
      for (size_t i = 0; i < n; ++i) {
        if (!free[i]) continue;
        sy += p.s[i] * p.y[i];
        yy += p.y[i] * p.y[i];
        sd += p.s[i] * d[i];
      }
      p.sy = sy > 1e-10 * yy ? sy : 0.0;
      if (p.sy == 0.0) continue;
      if (scale == 1.0) scale = sy / yy;
      p.alpha = sd / sy;
      for (size_t i = 0; i < n; ++i) d[i] -= free[i] ? p.alpha * p.y[i] : 0.0;
    }
    for (double& v : d) v *= scale;
    for (Pair& p : pairs_) {
      if (p.sy == 0.0) continue;
      double yd = 0.0;
      for (size_t i = 0; i < n; ++i) yd += p.y[i] * d[i];
      for (size_t i = 0; i < n; ++i) d[i] += free[i] ? (p.alpha - yd / p.sy) * p.s[i] : 0.0;
    }
    return d;
  }

 private:
  struct Pair {
    Vector s, y;
    double sy, alpha;
  };
  size_t most_;
  std::vector<Pair> pairs_;
};

// Least point of the cubic through two values and slopes (Nocedal and Wright, eq. 3.59), kept away
// from both ends; the middle where there is none.
double between(const Point& a, const Point& b) {
  const double width = b.t - a.t;
  double t = a.t + 0.5 * width;
  if (std::isfinite(b.value)) {
    const double d1 = a.slope + b.slope - 3.0 * (b.value - a.value) / width;
    const double root = d1 * d1 - a.slope * b.slope;
    if (root >= 0.0) {
      const double d2 = std::copysign(std::sqrt(root), width);
      const double below = b.slope - a.slope + 2.0 * d2;
      if (below != 0.0) t = b.t - width * (b.slope + d2 - d1) / below;
    }
  } else {
    t = a.t + 0.1 * width;
  }
  const double low = std::min(a.t, b.t), gap = 0.1 * std::fabs(width);
  return std::isfinite(t) ? std::clamp(t, low + gap, low + std::fabs(width) - gap)
                          : a.t + 0.5 * width;
}

class Search {
 public:
  Search(const Objective& f, const double* low, const double* high, const LbfgsOptions& options)
      : f_(f), low_(low), high_(high), options_(options), memory_(options.memory) {}

  LbfgsResult run(double* start, int64_t n) {
    Point at;
    at.x.assign(start, start + n);
    for (int64_t i = 0; i < n; ++i) at.x[i] = std::clamp(at.x[i], low_[i], high_[i]);
    LbfgsResult out{0.0, 0, 0, LbfgsStop::kStart, ""};
    if (evaluate(at)) {
      out.stop = descend(at, out.iterations);
      std::copy(at.x.begin(), at.x.end(), start);
    }
    out.value = at.value;
    out.evaluations = evaluations_;
    if (out.stop == LbfgsStop::kStart) out.reason = reason_;
    return out;
  }

 private:
  // Whether anything finite is at p.x; fills value and gradient.
  bool evaluate(Point& p) {
    ++evaluations_;
    p.g.resize(p.x.size());
    try {
      p.value = f_(p.x.data(), p.g.data());
      const bool finite =
          std::isfinite(p.value) &&
          std::all_of(p.g.begin(), p.g.end(), [](double v) { return std::isfinite(v); });
      if (finite) return true;
      reason_ = "value " + std::to_string(p.value) + " or a gradient is not finite";
    } catch (const std::exception& error) {
      reason_ = error.what();
    }
    p.value = kWall;
    return false;
  }

  bool spent() const { return evaluations_ >= options_.max_evaluations; }

  // Variables that a step along -g can move; the largest such move into `move`.
  std::vector<bool> free_variables(const Point& at, double& move) const {
    std::vector<bool> free(at.x.size());
    move = 0.0;
    for (size_t i = 0; i < free.size(); ++i) {
      const double to = std::clamp(at.x[i] - at.g[i], low_[i], high_[i]);
      free[i] = to != at.x[i];
      move = std::max(move, std::fabs(to - at.x[i]));
    }
    return free;
  }

  // A descent direction of at most the reach; forgets the past where that gives none.
  Vector direction(const Point& at, const std::vector<bool>& free) {
    for (;;) {
      Vector d = memory_.direction(at.g, free);
      double longest = 0.0;
      for (size_t i = 0; i < d.size(); ++i) {
        if ((at.x[i] <= low_[i] && d[i] < 0.0) || (at.x[i] >= high_[i] && d[i] > 0.0)) d[i] = 0.0;
        longest = std::max(longest, std::fabs(d[i]));
      }
      const double reach = memory_.empty() ? 0.5 * options_.reach : options_.reach;
      if (memory_.empty() || longest > reach) {
        for (double& v : d) v *= reach / longest;
      }
      if (memory_.empty() || dot(d, at.g) < 0.0) return d;
      memory_.clear();
    }
  }

  LbfgsStop descend(Point& at, int64_t& iterations) {
    int64_t small = 0;  // steps in a row that gained next to nothing
    for (iterations = 0; iterations < options_.max_iter; ++iterations) {
      double move = 0.0;
      const std::vector<bool> free = free_variables(at, move);
      if (move <= options_.gradient_tol) return LbfgsStop::kGradient;
      if (spent()) return LbfgsStop::kEvaluations;
      const Vector d = direction(at, free);
      const bool fresh = memory_.empty();
      const bool hopeless = !fresh && -0.5 * dot(d, at.g) <= options_.decrease_tol;
      if (hopeless && small >= 2) return LbfgsStop::kDecrease;
      Point next = step(at, d);
      if (next.t == 0.0) {
        if (spent()) return LbfgsStop::kEvaluations;
        if (fresh) return LbfgsStop::kSearch;
        memory_.clear();
        continue;
      }
      small = at.value - next.value <= options_.decrease_tol ? small + 1 : 0;
      Vector s(d.size()), y(d.size());
      for (size_t i = 0; i < s.size(); ++i) {
        s[i] = next.x[i] - at.x[i];
        y[i] = next.g[i] - at.g[i];
      }
      memory_.add(s, y);
      at = std::move(next);
    }
    return LbfgsStop::kIterations;
  }

  // The point at t on the path from `from`; whether it lies low enough.
  bool look(const Point& from, const Vector& d, double t, Point& p) {
    p.t = t;
    p.x.resize(d.size());
    double promised = 0.0;
    for (size_t i = 0; i < d.size(); ++i) {
      p.x[i] = std::clamp(from.x[i] + t * d[i], low_[i], high_[i]);
      promised += from.g[i] * (p.x[i] - from.x[i]);
    }
    if (!evaluate(p)) return false;
    p.slope = 0.0;
    for (size_t i = 0; i < d.size(); ++i) {
      const bool moves = d[i] < 0.0 ? p.x[i] > low_[i] : p.x[i] < high_[i];
      if (moves) p.slope += p.g[i] * d[i];
    }
    return p.value <= from.value + kArmijo * promised;
  }

  // A point with sufficient decrease, and as flat as asked for where that can be had; `from`
  // itself, t = 0, where there is none.
  Point step(const Point& from, const Vector& d) {
    Point best = from, far, p;
    best.t = 0.0;
    best.slope = dot(from.g, d);
    const double steep = kCurvature * std::fabs(best.slope);
    bool bracketed = false;
    double t = 1.0;
    for (int64_t trial = 0; trial < kTrials && !spent(); ++trial) {
      const bool low = look(from, d, t, p);
      if (!low || p.value >= best.value) {
        far = p;
        bracketed = true;
      } else {
        const bool beyond = p.slope * (bracketed ? far.t - best.t : 1.0) >= 0.0;
        if (beyond) {
          far = best;
          bracketed = true;
        }
        best = p;
        if (std::fabs(p.slope) <= steep) return best;
      }
      t = bracketed ? between(best, far) : 3.0 * t;
    }
    return best;
  }

  const Objective& f_;
  const double *low_, *high_;
  const LbfgsOptions& options_;
  Memory memory_;
  int64_t evaluations_ = 0;
  std::string reason_;
};

}  // namespace

LbfgsResult lbfgs(const Objective& f, int64_t n, const double* low, const double* high, double* x,
                  const LbfgsOptions& options) {
  return Search(f, low, high, options).run(x, n);
}

}  // namespace jobs_bench
