#pragma once

#include <vector>

#include "gp_simd.h"
#include "gp_spec.h"
#include "gp_workspace.h"

// Points made ready for the loops, and what the loops return made into gradients.

namespace jobs_bench {

inline int64_t padded(int64_t n) { return (n + kRows - 1) / kRows * kRows; }

// Leading dimension of a padded matrix: rows a power of two apart would share cache sets.
inline int64_t leading(int64_t n) { return padded(n) % 64 == 0 ? padded(n) + kRows : padded(n); }

// A model's numbers as the loops take them.
struct Settings {
  std::vector<int64_t> forms;
  std::vector<double> factors;  // kMostFormParams each

  Settings(const GpSpec& spec, const double* theta);
};

// Points by columns, see PairTerm: spec.columns() columns, `ld` apart. Roots are taken and smooth
// columns divided. Throws where a ratio to a lengthscale is 1e150 or more.
struct Points {
  int64_t n, ld;
  const double* at;

  static int64_t room(const GpSpec& spec, int64_t n) { return spec.columns() * leading(n); }

  // `to`: room() numbers, of which the points keep the address.
  Points(const GpSpec& spec, const double* X, int64_t n, int64_t d, const double* theta,
         double* to);
};

// Two sets of points and a model; the arguments are kept by address.
struct PairUp {
  std::vector<PairTerm> terms;
  Pairs pairs;

  PairUp(const GpSpec& spec, const Settings& settings, const double* theta, const Points& a,
         const Points& b);
};

// Numbers of scratch that GpLoops::contract needs.
inline int64_t contract_scratch(const GpSpec& spec) {
  return (spec.params() + kRows * spec.columns()) * kMostLanes;
}

// Sums of GpLoops::contract to gradients of theta, written.
void finish_theta(const GpSpec& spec, const double* sums, const double* theta, double* out);

// Rows of GpLoops::contract's gx to gradients to X, times `factor`, added to `out`; X, out: rows d.
void finish_rows(const GpSpec& spec, const double* gx, const double* theta, double factor,
                 int64_t rows, int64_t d, const double* X, double* out);

// Prior variance of one row x, and its gradient, times `factor`, added to `by_x` (d) unless null.
double prior_variance(const GpSpec& spec, const double* theta, const double* x, double factor,
                      double* by_x);

}  // namespace jobs_bench
