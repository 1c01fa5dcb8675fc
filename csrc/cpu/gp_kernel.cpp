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
    const int64_t count = std::min(kRows, i1 - i);
    if (count == kRows && ld == m_) {
      gp_loops().gram(up_.pairs, i, i + kRows, ld, out + i * m_, m_, {});
      continue;
    }
    gp_loops().gram(up_.pairs, i, i + kRows, ld, rows.data(), ld, {});
    for (int64_t r = 0; r < count; ++r) std::copy_n(&rows[r * ld], m_, out + (i + r) * m_);
  }
}

void GpCross::square(int64_t i0, int64_t i1, double* out) const {
  const int64_t ld = padded(m_);
  std::vector<double> rows(kRows * ld);
  for (int64_t i = i0; i < i1; i += kRows) {
    const int64_t count = std::min(kRows, i1 - i);
    gp_loops().gram(up_.pairs, i, i + kRows, i + kRows, rows.data(), ld, {});
    for (int64_t r = 0; r < count; ++r) std::copy_n(&rows[r * ld], i + count, out + (i + r) * m_);
    int64_t j = 0;
    for (; count == kRows && j < i; j += kRows) {
      gp_loops().turn(&rows[j], ld, out + j * m_ + i, m_, kRows);
    }
    for (; j < i; ++j) {
      for (int64_t r = 0; r < count; ++r) out[j * m_ + i + r] = rows[r * ld + j];
    }
  }
}

void GpCross::backward(int64_t i0, int64_t i1, const double* grad, int64_t by_row, int64_t by_col,
                       double* sums, double* gX1) const {
  const int64_t ld = padded(m_);
  std::vector<double> rows(kRows * ld), scratch(contract_scratch(spec_));
  std::vector<double> gx(kRows * spec_.columns());
  double* pull = gX1 != nullptr ? gx.data() : nullptr;
  for (int64_t i = i0; i < i1; i += kRows) {
    const int64_t count = std::min(kRows, i1 - i);
    if (count == kRows && ld == m_ && by_col == 1) {
      gp_loops().contract(up_.pairs, i, i + kRows, ld, grad + i * by_row, by_row, scratch.data(),
                          sums, pull, {});
    } else {
      std::fill(rows.begin(), rows.end(), 0.0);
      for (int64_t r = 0; r < count; ++r) {
        const double* from = grad + (i + r) * by_row;
        for (int64_t j = 0; j < m_; ++j) rows[r * ld + j] = from[j * by_col];
      }
      gp_loops().contract(up_.pairs, i, i + kRows, ld, rows.data(), ld, scratch.data(), sums, pull,
                          {});
    }
    if (gX1 == nullptr) continue;
    finish_rows(spec_, pull, theta_, 1.0, count, d_, X1_ + i * d_, gX1 + (i - i0) * d_);
  }
}

void GpCross::square_backward(int64_t i0, int64_t i1, const double* grad, double* sums) const {
  const int64_t ld = padded(m_);
  std::vector<double> rows(kRows * ld), scratch(contract_scratch(spec_));
  for (int64_t i = i0; i < i1; i += kRows) {
    const int64_t count = std::min(kRows, i1 - i);
    std::fill(rows.begin(), rows.end(), 0.0);
    int64_t j = 0;
    for (; count == kRows && j < i; j += kRows) {
      gp_loops().turn(grad + j * m_ + i, m_, &rows[j], ld, kRows);
    }
    for (; j < i + count; ++j) {
      for (int64_t r = 0; r < count; ++r) {
        if (j < i + r) rows[r * ld + j] = grad[j * m_ + i + r];
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t k = 0; k <= i + r; ++k) rows[r * ld + k] += grad[(i + r) * m_ + k];
    }
    gp_loops().contract(up_.pairs, i, i + kRows, i + kRows, rows.data(), ld, scratch.data(), sums,
                        nullptr, {});
  }
}

void GpCross::finish(const double* sums, double* gtheta) const {
  finish_theta(spec_, sums, theta_, gtheta);
}

}  // namespace jobs_bench
