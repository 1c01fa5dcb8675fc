#pragma once

#include "../cpu/gp_model.h"
#include "tensors.h"

// What the Gaussian process operators take, M models at once, checked: shapes here, and that
// numbers are finite and in their ranges. Every tensor is float64, of any strides:
//   X, X1, X2, Xq  (M or 1, n, d) rows; a leading 1 shares them between the models
//   theta          (M, P), see GpTerm
//   y              (M or 1, n)
//   noise          (M, 1) or (M, n) variances > 0
//   mean           (M,)
//   spec           GpSpec.code of Python
// Deterministic: the same bits at any number of threads. Within rounding of
// jobs_bench/ops/_gp_reference.py, the definition of right. n = 0 and M = 0 are allowed. Outputs
// are contiguous and fresh.

namespace jobs_bench {

inline const double* numbers(const Tensor& t) { return t.const_data_ptr<double>(); }

// Model m's part of a tensor that may be shared.
inline const double* of_model(const Tensor& t, int64_t m) {
  const int64_t models = t.size(0);
  return numbers(t) + (models <= 1 ? 0 : m * (t.numel() / models));
}

// Columns of rows (M, n, d).
inline int64_t columns_of(const char* op, const char* name, const Tensor& X) {
  require(X.dim() == 3, op, ": got ", name, " ", show(shape_of(X)), "; wanted (M, n, d)");
  return X.size(2);
}

inline Tensor gp_theta(const char* op, const GpSpec& spec, const Tensor& theta) {
  const Tensor t = checked(op, "theta", theta, ScalarType::Double, {-1, spec.params()});
  for (int64_t m = 0; m < t.size(0); ++m) spec.check_theta(op, of_model(t, m), m);
  return t;
}

inline Tensor gp_rows(const char* op, const char* name, const GpSpec& spec, const Tensor& X,
                      int64_t models, int64_t d) {
  const Tensor t = checked(op, name, X, ScalarType::Double, {models, -1, d}, true);
  spec.check_rows(op, name, numbers(t), t.size(0) * t.size(1), d);
  return t;
}

inline Tensor gp_numbers(const char* op, const char* name, const Tensor& x, const Ints& shape,
                         bool shared = false, bool above = false) {
  const Tensor t = checked(op, name, x, ScalarType::Double, shape, shared);
  check_numbers(op, name, numbers(t), t.numel(), above);
  return t;
}

// The arguments of a regression.
struct GpProblem {
  int64_t d;
  GpSpec spec;
  Tensor theta;
  int64_t M;
  Tensor X, y, noise, mean;
  int64_t n, noises;

  GpProblem(const char* op, const Tensor& X_, const Tensor& y_, const Tensor& theta_,
            const Tensor& noise_, const Tensor& mean_, const Ints& code)
      : d(columns_of(op, "X", X_)),
        spec(GpSpec::parse(code.data(), static_cast<int64_t>(code.size()), d)),
        theta(gp_theta(op, spec, theta_)),
        M(theta.size(0)),
        X(gp_rows(op, "X", spec, X_, M, d)),
        y(gp_numbers(op, "y", y_, {M, X.size(1)}, true)),
        noise(gp_numbers(op, "noise", noise_, {M, -1}, false, true)),
        mean(gp_numbers(op, "mean", mean_, {M})),
        n(X.size(1)),
        noises(noise.size(1)) {
    require(noises == 1 || noises == n, op, ": got noise ", show(shape_of(noise)), "; wanted ",
            show({M, 1}), " or ", show({M, n}));
  }

  GpData data(int64_t m) const {
    return {n, d, of_model(X, m), of_model(y, m), of_model(noise, m), noises};
  }
};

// Scratch of the thread that asks.
inline GpWorkspace& gp_workspace() {
  static thread_local GpWorkspace workspace;
  return workspace;
}

}  // namespace jobs_bench
