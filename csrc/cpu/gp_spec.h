#pragma once

#include <cstdint>
#include <vector>

#include "../core/gp.h"

// Which covariance: jobs_bench/ops/_gp_spec.py, decoded. No torch.

namespace jobs_bench {

struct GpFactor {
  int64_t form, column;  // a GpForm; of the rows

  int64_t params() const { return kGpFormParams[form]; }
};

// A product of factors; its parameters are, in order, lengthscales, Hamming weights, those of the
// fidelity factors, the outputscale.
struct GpTerm {
  int64_t kind;  // a GpKind
  std::vector<int64_t> smooth, names;
  std::vector<GpFactor> fidelity;
  int64_t begin;  // of its parameters in theta
  int64_t params;

  int64_t s() const { return static_cast<int64_t>(smooth.size()); }
  int64_t c() const { return static_cast<int64_t>(names.size()); }
  int64_t f() const { return static_cast<int64_t>(fidelity.size()); }
  int64_t columns() const { return s() + c() + f(); }
  int64_t scale() const { return begin + params - 1; }  // where in theta
};

struct GpSpec {
  std::vector<GpTerm> terms;
  std::vector<int64_t> roots;  // columns that enter as sqrt(max(x, kRootFloor))

  // From GpSpec.code of Python, for rows of `columns`; throws what it cannot be.
  static GpSpec parse(const int64_t* code, int64_t size, int64_t columns);

  int64_t params() const;
  int64_t columns() const;  // of all terms together

  // Sum of outputscales, in which jitter is measured.
  double scale(const double* theta) const;

  // Throw where parameters, or rows (n, d), are not finite or out of their ranges. `name` is what
  // the message calls them.
  void check_theta(const char* op, const double* theta, int64_t model) const;
  void check_rows(const char* op, const char* name, const double* X, int64_t n, int64_t d) const;
};

// Throws where one of the numbers is not finite, or with `above` not above 0.
void check_numbers(const char* op, const char* name, const double* x, int64_t size,
                   bool above = false);

}  // namespace jobs_bench
