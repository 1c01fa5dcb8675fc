#include <algorithm>

#include "gp_model.h"

namespace jobs_bench {

GpCross::GpCross(const GpSpec& spec, const double* X1, int64_t n, const double* X2, int64_t m,
                 int64_t d, const double* theta)
    : spec_(spec),
      X1_(X1),
      theta_(theta),
      n_(n),
      m_(m),
      d_(d),
      a_(Points::room(spec, n)),
      b_(Points::room(spec, m)),
      settings_(spec, theta),
      pa_(spec, X1, n, d, theta, a_.data()),
      pb_(spec, X2, m, d, theta, b_.data()),
      up_(spec, settings_, theta, pa_, pb_) {}

void GpCross::kernel(int64_t i0, int64_t i1, double* out) const {
  const int64_t ld = padded(m_);
  std::vector<double> rows(kRows * ld);
  for (int64_t i = i0; i < i1; i += kRows) {
    gp_loops().gram(up_.pairs, i, i + kRows, ld, rows.data(), ld, {});
    for (int64_t r = 0; r < std::min(kRows, i1 - i); ++r) {
      std::copy_n(&rows[r * ld], m_, out + (i - i0 + r) * m_);
    }
  }
}

void GpCross::backward(int64_t i0, int64_t i1, const double* grad, int64_t by_row, int64_t by_col,
                       double* sums, double* gX1) const {
  const int64_t ld = padded(m_);
  std::vector<double> rows(kRows * ld), scratch(contract_scratch(spec_));
  std::vector<double> gx(kRows * spec_.columns());
  for (int64_t i = i0; i < i1; i += kRows) {
    const int64_t count = std::min(kRows, i1 - i);
    std::fill(rows.begin(), rows.end(), 0.0);
    for (int64_t r = 0; r < count; ++r) {
      const double* from = grad + (i + r) * by_row;
      for (int64_t j = 0; j < m_; ++j) rows[r * ld + j] = from[j * by_col];
    }
    gp_loops().contract(up_.pairs, i, i + kRows, ld, rows.data(), ld, scratch.data(), sums,
                        gX1 != nullptr ? gx.data() : nullptr, {});
    if (gX1 == nullptr) continue;
    finish_rows(spec_, gx.data(), theta_, 1.0, count, d_, X1_ + i * d_, gX1 + (i - i0) * d_);
  }
}

void GpCross::finish(const double* sums, double* gtheta) const {
  finish_theta(spec_, sums, theta_, gtheta);
}

}  // namespace jobs_bench
