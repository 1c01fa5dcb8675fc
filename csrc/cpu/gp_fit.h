#pragma once

#include <vector>

#include "gp_model.h"
#include "lbfgs.h"
#include "prior.h"

// Maximum a posteriori parameters of one Gaussian process from one start: raw pointers, no torch,
// one thread. Parameters are theta, the noise variance and the prior mean, in this order.

namespace jobs_bench {

// What is known of one parameter. low == high: it is fixed. leader: the parameter whose value it
// takes, an earlier one of theta, which then has no box of its own; or itself.
struct GpBox {
  double low, high;
  Prior prior;
  int64_t leader;

  bool log() const { return low > 0.0; }  // searched in its logarithm
};

struct GpFitOut {
  double value;  // log marginal likelihood plus log priors at the result
  LbfgsResult search;
};

// x (params + 2): the start, moved into the boxes; then the result. data.noise: known variances (n)
// to which the fitted one is added, or null. Tolerances of the options are per row of data, slopes
// in the coordinates searched: logarithms where low > 0, numbers elsewhere, the mean in standard
// deviations of y. Deterministic; nothing is thrown: a start at which the likelihood fails ends in
// LbfgsStop::kStart, a value of NaN and the reason.
GpFitOut gp_fit(const GpSpec& spec, const GpData& data, const std::vector<GpBox>& boxes, double* x,
                const LbfgsOptions& options, GpWorkspace& workspace);

}  // namespace jobs_bench
