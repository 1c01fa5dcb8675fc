#include "acquisition.h"

namespace jobs_bench {
namespace {

// The sum of the models' moments, after one model's, in a vector of twice the size.
double* sum_in(std::vector<double>& both, int64_t size) {
  both.assign(static_cast<size_t>(2 * size), 0.0);
  return both.data() + size;
}

void add(const std::vector<double>& one, int64_t size, double factor, double* sum) {
  for (int64_t i = 0; i < size; ++i) sum[i] += factor * one[i];
}

}  // namespace

void acquisition(const AcquisitionFunction& function, int64_t q, const double* Xq, double* value,
                 double* gradient, AcquisitionScratch& scratch) {
  const int64_t d = function.models.empty() ? 0 : function.models[0]->d();
  const bool slopes = gradient != nullptr;
  AcquisitionScratch& s = scratch;
  double *mean = sum_in(s.mean, q), *variance = sum_in(s.variance, q);
  double* mean_x = slopes ? sum_in(s.mean_x, q * d) : nullptr;
  double* variance_x = slopes ? sum_in(s.variance_x, q * d) : nullptr;
  for (size_t m = 0; m < function.models.size(); ++m) {
    const double w = function.weights[m];
    gp_posterior(*function.models[m], q, Xq, s.mean.data(), s.variance.data(),
                 slopes ? s.mean_x.data() : nullptr, slopes ? s.variance_x.data() : nullptr, s.gp);
    add(s.mean, q, w, mean);
    add(s.variance, q, w * w, variance);
    if (!slopes) continue;
    add(s.mean_x, q * d, w, mean_x);
    add(s.variance_x, q * d, w * w, variance_x);
  }
  for (int64_t i = 0; i < q; ++i) {
    const Acquired at = acquire(function.kind, function.best, function.beta, mean[i], variance[i]);
    value[i] = at.value;
    for (int64_t c = 0; slopes && c < d; ++c) {
      gradient[i * d + c] = at.mean * mean_x[i * d + c] + at.variance * variance_x[i * d + c];
    }
  }
}

}  // namespace jobs_bench
