#include "gp_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace jobs_bench {
namespace {

using Vector = std::vector<double>;

// Standard deviation of y, 1 where it has none.
double spread(const double* y, int64_t n) {
  double mean = 0.0, square = 0.0;
  for (int64_t i = 0; i < n; ++i) mean += y[i] / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) square += (y[i] - mean) * (y[i] - mean) / static_cast<double>(n);
  return square > 0.0 && std::isfinite(square) ? std::sqrt(square) : 1.0;
}

// One regression as a function of the coordinates that are searched: one for each parameter that
// is neither fixed nor led.
class Posterior {
 public:
  Posterior(const GpSpec& spec, const GpData& data, const std::vector<GpBox>& boxes, double* x,
            GpWorkspace& workspace)
      : spec_(spec),
        data_(data),
        boxes_(boxes),
        x_(x),
        workspace_(workspace),
        unit_(spread(data.y, data.n)),
        noise_(data.noise ? data.n : 1),
        slope_(boxes.size()),
        noise_slope_(noise_.size()) {
    for (size_t k = 0; k < boxes.size(); ++k) {
      const GpBox& box = boxes[k];
      if (!leads(k)) continue;
      x_[k] = std::clamp(x_[k], box.low, box.high);
      if (box.low == box.high) continue;
      at_.push_back(k);
      low.push_back(coordinate(k, box.low));
      high.push_back(coordinate(k, box.high));
      start.push_back(coordinate(k, x_[k]));
    }
    follow();
  }

  Vector low, high, start;

  // The parameters at z, into x.
  void place(const double* z) {
    for (size_t i = 0; i < at_.size(); ++i) {
      const GpBox& box = boxes_[at_[i]];
      const double v = box.log() ? std::exp(z[i]) : z[i] * scale(at_[i]);
      x_[at_[i]] = std::clamp(v, box.low, box.high);
    }
    follow();
  }

  // Log likelihood plus log priors at z, its slope by x kept.
  double value(const double* z) {
    place(z);
    const size_t noise = boxes_.size() - 2, mean = noise + 1;
    GpData data = data_;
    for (size_t i = 0; i < noise_.size(); ++i)
      noise_[i] = x_[noise] + (data_.noise ? data_.noise[i] : 0.0);
    data.noise = noise_.data();
    data.noises = static_cast<int64_t>(noise_.size());
    const GpMllGrad grad = {nullptr, nullptr, slope_.data(), noise_slope_.data(), &slope_[mean]};
    double out = gp_mll(spec_, data, x_, x_[mean], grad, workspace_).value;
    slope_[noise] = 0.0;
    for (const double v : noise_slope_) slope_[noise] += v;
    for (size_t k = 0; k < boxes_.size(); ++k) {
      if (!leads(k)) continue;
      const Prior::At prior = boxes_[k].prior.at(x_[k]);
      out += prior.value;
      slope_[k] += prior.slope;
    }
    for (size_t k = 0; k < boxes_.size(); ++k) {
      if (!leads(k)) slope_[static_cast<size_t>(boxes_[k].leader)] += slope_[k];
    }
    return out;
  }

  // What is minimised: minus the value a row of data, and its gradient.
  double loss(const double* z, double* g) {
    const double rows = static_cast<double>(std::max<int64_t>(data_.n, 1));
    const double out = -value(z) / rows;
    for (size_t i = 0; i < at_.size(); ++i) {
      const size_t k = at_[i];
      g[i] = -slope_[k] * (boxes_[k].log() ? x_[k] : scale(k)) / rows;
    }
    return out;
  }

 private:
  bool leads(size_t k) const { return boxes_[k].leader == static_cast<int64_t>(k); }
  double scale(size_t k) const { return k + 1 == boxes_.size() ? unit_ : 1.0; }
  double coordinate(size_t k, double v) const {
    return boxes_[k].log() ? std::log(v) : v / scale(k);
  }
  void follow() {
    for (size_t k = 0; k < boxes_.size(); ++k) x_[k] = x_[static_cast<size_t>(boxes_[k].leader)];
  }

  const GpSpec& spec_;
  const GpData& data_;
  const std::vector<GpBox>& boxes_;
  double* x_;
  GpWorkspace& workspace_;
  double unit_;
  std::vector<size_t> at_;
  Vector noise_, slope_, noise_slope_;
};

}  // namespace

GpFitOut gp_fit(const GpSpec& spec, const GpData& data, const std::vector<GpBox>& boxes, double* x,
                const LbfgsOptions& options, GpWorkspace& workspace) {
  Posterior posterior(spec, data, boxes, x, workspace);
  const auto loss = [&](const double* z, double* g) { return posterior.loss(z, g); };
  Vector z = posterior.start;
  const auto n = static_cast<int64_t>(z.size());
  GpFitOut out{std::numeric_limits<double>::quiet_NaN(),
               lbfgs(loss, n, posterior.low.data(), posterior.high.data(), z.data(), options)};
  posterior.place(z.data());
  if (out.search.stop != LbfgsStop::kStart) {
    out.value = -out.search.value * static_cast<double>(std::max<int64_t>(data.n, 1));
  }
  return out;
}

}  // namespace jobs_bench
