#pragma once

#include <cstdint>
#include <functional>
#include <string>

// Minimisation of a smooth function in a box: limited-memory BFGS (Nocedal 1980) on the free
// variables, along a path that is projected onto the box (Bertsekas, "Projected Newton methods for
// optimization problems with simple constraints", 1982), with the strong Wolfe search of Nocedal
// and Wright, "Numerical Optimization" (2006), algorithms 3.5 and 3.6. Raw pointers, no torch;
// knows nothing of what it minimises.

namespace jobs_bench {

// Value at x, gradient into g. What it throws (a std::exception) and values or gradients that are
// not finite count as a wall: the search turns back from there.
using Objective = std::function<double(const double* x, double* g)>;

enum class LbfgsStop : int64_t {
  kGradient = 0,     // projected gradient within tolerance
  kDecrease = 1,     // two steps in a row, and what the model still expects, within tolerance
  kIterations = 2,   // max_iter
  kEvaluations = 3,  // max_evaluations
  kSearch = 4,       // no decrease along the gradient itself: as good as rounding allows
  kStart = 5,        // nothing finite at the start
};

struct LbfgsOptions {
  int64_t max_iter = 200;
  int64_t max_evaluations = 400;
  double gradient_tol = 1e-5;  // of the largest entry of P(x - g) - x
  double decrease_tol = 1e-8;  // of the value, absolute
  int64_t memory = 30;
  double reach = 1.0;  // no variable moves further in a step; the first goes half as far
};

struct LbfgsResult {
  double value;
  int64_t iterations, evaluations;
  LbfgsStop stop;
  std::string reason;  // of kStart
};

// x (n): the start, moved into the box first; then the best point seen. low <= high, may be
// infinite or equal. Never worse than the start. Deterministic.
LbfgsResult lbfgs(const Objective& f, int64_t n, const double* low, const double* high, double* x,
                  const LbfgsOptions& options);

}  // namespace jobs_bench
