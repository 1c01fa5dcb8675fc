#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "design.h"

// Local maximisation over the continuous columns of a row, mixtures included: a projected
// limited-memory quasi-Newton method. The row's levels, and what is inactive beside them, stay.

namespace jobs_bench {

// One ascent, by reverse communication, so that many can share one batched evaluation: ask for
// the trial row, evaluate there, advance.
//
// Mixtures are searched on the flat simplex, or on the sphere of their square roots (see Design),
// where a covariance of square roots is smooth. A direction is the L-BFGS two-loop product
// (Nocedal and Wright 2006, algorithm 7.4) within the tangent space of the columns that are free:
// those that the projected gradient (onto the tangent cone) moves. A step is projected onto the
// feasible set and shortened until it gains (Armijo along the projection arc, Bertsekas 1976).
class Ascent {
 public:
  // row: (d) of the design, settled.
  Ascent(const Design& design, const double* row, int64_t max_iter);

  // The row, (d), whose value and gradient are wanted.
  const double* trial() const { return trial_row_.data(); }

  // Takes them in; a value that is not finite counts as lowest. Whether there is more to do.
  bool advance(double value, const double* gradient);

  // The best row so far, (d), and its value.
  const double* row() const { return row_.data(); }
  double value() const { return value_; }

 private:
  using Vector = std::vector<double>;
  struct Pair {
    Vector s, y;
  };

  void to_row(const Vector& z, Vector& row) const;
  void project(Vector& z) const;
  double project_gradient(const Vector& z, const Vector& g, Vector& out, Vector& multipliers) const;
  void into_tangent(const Vector& z, const std::vector<char>& free, Vector& v) const;
  void remember(const Vector& z, const Vector& g);
  bool quasi_newton(Vector& direction) const;
  bool aim();
  bool propose();

  const Design& design_;
  int64_t left_;
  Vector low_, high_;           // bounds in the coordinates of the search
  std::vector<char> mixed_;     // column is part of a mixture
  Vector z_, gradient_, cone_;  // current point, its gradient, projected
  Vector multipliers_;
  Vector direction_, trial_z_;
  Vector row_, trial_row_;
  std::vector<Pair> pairs_;  // oldest first
  double value_ = -HUGE_VAL, step_ = 0.0, reach_ = 0.05;
  int backtracks_ = 0, idle_ = 0;
  bool started_ = false;
};

}  // namespace jobs_bench
