#pragma once

#include <cstdint>

// Nearest points of a mixture's feasible set, and of its tangent cone. Raw pointers, no torch.
// A mixture of k columns is searched either in its weights, on {sum w = 1, low <= w <= high}
// (flat), or in their square roots, on {sum u^2 = 1, low <= u <= high} with low >= 0 (sphere). Both
// sets must not be empty. Out may be in. Exact to rounding: each is one monotone equation,
// piecewise linear (flat, cone) or quadratic (sphere), solved piece by piece.

namespace jobs_bench {

// out = the nearest point to x.
void project_flat(int64_t k, const double* x, const double* low, const double* high, double* out);
void project_sphere(int64_t k, const double* x, const double* low, const double* high, double* out);

// out = the nearest direction to g that stays feasible to first order at x: orthogonal to the
// normal a (null: all ones), not below 0 where x is at low, not above 0 where x is at high.
// Returns the multiplier of a.
double project_cone(int64_t k, const double* g, const double* a, const double* x, const double* low,
                    const double* high, double* out);

}  // namespace jobs_bench
