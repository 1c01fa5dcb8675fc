#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "gp_simd.h"

// What the Gaussian process operators share: checked arguments, packed points, a factorised
// covariance. ops/gp.h is their contract.

namespace jobs_bench {

using at::IntArrayRef;
using at::Tensor;
using Numbers = std::vector<double>;

constexpr int64_t kChunk = 64;  // rows of one piece of parallel work

inline int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

inline const double* numbers(const Tensor& t) { return t.const_data_ptr<double>(); }

inline const double* of_model(const Tensor& t, int64_t m) {
  return numbers(t) + (t.size(0) == 1 ? 0 : m) * (t.numel() / t.size(0));
}

// Columns of a call; one model's parameters are lengthscales, Hamming weights, outputscale.
struct Spec {
  int64_t kind;
  IntArrayRef smooth, names;

  int64_t s() const { return static_cast<int64_t>(smooth.size()); }
  int64_t c() const { return static_cast<int64_t>(names.size()); }
  int64_t size() const { return s() + c() + 1; }
  int64_t scratch() const { return (5 * s() + c() + 1) * kMostLanes; }
};

// `t` contiguous, of `shape` and finite; -1 is free, and where `shared`, a leading 1 will do.
Tensor checked(const char* op, const char* name, const Tensor& t, IntArrayRef shape, bool shared);

// `theta` contiguous, parameters in their ranges, columns among `columns`.
Tensor checked_theta(const char* op, const Spec& spec, const Tensor& theta, int64_t columns);

// The arguments of a regression, checked.
struct Problem {
  Spec spec;
  Tensor theta, X, y, noise, mean;
  int64_t M, n, d, noises;

  Problem(const char* op, const Tensor& X_, const Tensor& y_, const Tensor& theta_,
          const Tensor& noise_, const Tensor& mean_, Spec spec_);
};

// Points by columns, see Pairs.
struct Cloud {
  int64_t n, ld;
  Numbers at;

  Cloud(const Spec& spec, const double* X, int64_t n, int64_t d, const double* theta);
};

Pairs pair_up(const Spec& spec, const Cloud& a, const Cloud& b, const double* theta);

// Sums of GpLoops::contract to gradients of theta.
void finish_theta(const Spec& spec, const double* sums, const double* theta, double* out);

// Rows of GpLoops::contract's gx to columns of X, times `factor`.
void finish_rows(const Spec& spec, const double* gx, const double* theta, double factor,
                 int64_t rows, int64_t d, double* out);

// One model's factorised covariance, (N, N) under leading dimension ld, rows n to N being padding:
// lower Cholesky factor in k, its inverse in w, the residuals solved once in z, twice in alpha.
struct Factor {
  int64_t n, N, ld;
  Numbers k, w, alpha, z;
  double jitter = 0.0, relative = 0.0, log_det = 0.0;

  Factor(const char* op, const Problem& p, const Cloud& cloud, int64_t model);
};

}  // namespace jobs_bench
