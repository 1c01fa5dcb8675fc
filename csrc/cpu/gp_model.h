#pragma once

#include <vector>

#include "gp_points.h"

// One Gaussian process on the CPU: raw pointers, no torch, one thread. Matrices lie by rows.
// Arguments are taken as checked (GpSpec::check_theta and check_rows, check_numbers): finite and in
// their ranges. Deterministic; outputs do not alias inputs. What is right is said in
// jobs_bench/ops/_gp_reference.py.

namespace jobs_bench {

// Data of a regression. noise: one variance above 0, or one a row.
struct GpData {
  int64_t n, d;
  const double *X, *y, *noise;
  int64_t noises;  // 1 or n
};

struct GpMllOut {
  double value, jitter;  // log marginal likelihood, what was added to the diagonal
};

// Where gradients go, written whole: X (n, d), y (n), theta (params), noise (noises), mean (1).
// Null: not wanted.
struct GpMllGrad {
  double *X, *y, *theta, *noise, *mean;
};

// Log marginal likelihood, a sum over rows, and its gradients. Throws where the covariance is not
// positive definite with the largest jitter, or the value or a gradient not finite.
GpMllOut gp_mll(const GpSpec& spec, const GpData& data, const double* theta, double mean,
                const GpMllGrad& grad, GpWorkspace& workspace);

// Inverse of the Cholesky factor (n, n), weights of the posterior mean (n), jitter (1); written.
// Throws as gp_mll does.
void gp_condition(const GpSpec& spec, const GpData& data, const double* theta, double mean,
                  double* inverse, double* alpha, double* jitter, GpWorkspace& workspace);

// A model that has seen its data, ready for many queries, from several threads at once. It keeps
// no pointer.
class GpModel {
 public:
  // X (n, d); inverse and alpha are gp_condition's.
  GpModel(const GpSpec& spec, const double* X, int64_t n, int64_t d, const double* theta,
          double mean, const double* inverse, const double* alpha);
  GpModel(const GpModel&) = delete;
  GpModel& operator=(const GpModel&) = delete;

  const GpSpec& spec() const { return spec_; }
  int64_t d() const { return d_; }

  // See gp_posterior.
  void posterior(int64_t q, const double* Xq, double* mean, double* variance, double* mean_x,
                 double* variance_x, GpWorkspace& workspace) const;

 private:
  void chunk(int64_t q, const double* Xq, double* mean, double* variance, double* mean_x,
             double* variance_x, GpWorkspace& workspace) const;

  GpSpec spec_;
  int64_t n_, N_, d_;
  double mean_;
  std::vector<double> theta_, at_, inverse_, alpha_;  // padded, alpha kRows times over
  Settings settings_;
  Points points_;
};

// Mean and variance (q) of the noise-free value at rows Xq (q, d), and their gradients (q, d) to
// Xq, null: not wanted, both or none. Variances are cut at 0, gradient 0 there. A row's results do
// not depend on the others. Throws where one is not finite.
inline void gp_posterior(const GpModel& model, int64_t q, const double* Xq, double* mean,
                         double* variance, double* mean_x, double* variance_x,
                         GpWorkspace& workspace) {
  model.posterior(q, Xq, mean, variance, mean_x, variance_x, workspace);
}

// Rows [i0, i1) of the covariance of X1 (n, d) and X2 (m, d), to `out`, m numbers a row.
// As gp_kernel_backward, of use where the ranges are long.
class GpCross {
 public:
  GpCross(const GpSpec& spec, const double* X1, int64_t n, const double* X2, int64_t m, int64_t d,
          const double* theta);
  GpCross(const GpCross&) = delete;
  GpCross& operator=(const GpCross&) = delete;

  void kernel(int64_t i0, int64_t i1, double* out) const;

  // Of sum(grad * kernel), from rows [i0, i1) with i0 a multiple of kRows: sums that finish()
  // makes the gradient to theta when those of all rows are added up, added to `sums` (params), and
  // unless null the gradient to X1's rows, added to gX1 (i1 - i0, d). Of grad's entry (i, j) the
  // address is grad + i * by_row + j * by_col.
  void backward(int64_t i0, int64_t i1, const double* grad, int64_t by_row, int64_t by_col,
                double* sums, double* gX1) const;

  void finish(const double* sums, double* gtheta) const;

 private:
  const GpSpec& spec_;
  const double *X1_, *theta_;
  int64_t n_, m_, d_;
  std::vector<double> a_, b_;
  Settings settings_;
  Points pa_, pb_;
  PairUp up_;
};

}  // namespace jobs_bench
