#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "../core/acquisition.h"
#include "gp_model.h"

// An acquisition function of sum_m weights[m] f_m, M independent Gaussian processes. No torch.

namespace jobs_bench {

struct AcquisitionFunction {
  std::vector<std::unique_ptr<GpModel>> models;
  std::vector<double> weights;  // of the models
  int64_t kind;                 // an AcquisitionKind
  double best, beta;            // see acquire
};

// Scratch kept between evaluations. One thread at a time.
struct AcquisitionScratch {
  GpWorkspace gp;
  std::vector<double> mean, variance, mean_x, variance_x;  // of one model, of the sum
};

// Values (q) at rows Xq (q, d), and unless null their gradients (q, d). A row's numbers do not
// depend on the others. Outputs do not alias inputs. Throws where a posterior is not finite.
void acquisition(const AcquisitionFunction& function, int64_t q, const double* Xq, double* value,
                 double* gradient, AcquisitionScratch& scratch);

}  // namespace jobs_bench
