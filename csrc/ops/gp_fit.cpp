#include "../cpu/gp_fit.h"

#include <algorithm>
#include <cmath>

#include "gp_arguments.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "gp_fit";

// Boxes of P + 2 parameters: theta, noise, mean; table (P + 2, 4): low, high, and the prior's two.
std::vector<GpBox> read_boxes(const GpSpec& spec, const Ints& priors, const Ints& leaders,
                              const Tensor& table) {
  const int64_t count = spec.params() + 2;
  const Tensor t = checked(kOp, "boxes", table, ScalarType::Double, {count, 4});
  require(static_cast<int64_t>(priors.size()) == count, kOp, ": got ", priors.size(),
          " priors; wanted ", count);
  require(static_cast<int64_t>(leaders.size()) == count, kOp, ": got ", leaders.size(),
          " leaders; wanted ", count);
  std::vector<GpBox> boxes;
  std::vector<double> lows;
  for (int64_t k = 0; k < count; ++k) {
    const double* row = numbers(t) + 4 * k;
    const int64_t kind = priors[k], leader = leaders[k];
    require(row[0] <= row[1], kOp, ": got box ", k, " from ", row[0], " to ", row[1],
            "; wanted a low not above its high");
    require(0 <= kind && kind < kPriorKinds, kOp, ": got prior ", kind, "; wanted 0 to ",
            kPriorKinds - 1);
    const auto prior = static_cast<PriorKind>(kind);
    const bool positive = prior == PriorKind::kLogNormal || prior == PriorKind::kGamma;
    require(!positive || row[0] > 0.0, kOp, ": got box ", k, " from ", row[0],
            " with a prior over positive numbers; wanted a low above 0");
    require(
        leader == k || (0 <= leader && leader < k && k < count - 2 && leaders[leader] == leader),
        kOp, ": got leader ", leader, " of parameter ", k,
        "; wanted itself, or an earlier one of theta that leads itself");
    boxes.push_back({row[0], row[1], Prior(prior, row[2], row[3]), leader});
    lows.push_back(boxes[leader].low);
  }
  spec.check_theta(kOp, lows.data(), 0);
  check_numbers(kOp, "lowest noise", &lows[count - 2], 1, true);
  return boxes;
}

// Throws where every start of model m failed; values and reasons are those of all starts and
// models.
void check_model(int64_t m, int64_t models, const double* values,
                 const std::vector<std::string>& reasons) {
  std::string all;
  const auto jobs = static_cast<int64_t>(reasons.size());
  for (int64_t r = 0, job = m; job < jobs; ++r, job += models) {
    if (std::isfinite(values[job])) return;
    all += (r > 0 ? "; start " : "start ") + std::to_string(r) + ": " + reasons[job];
  }
  require(false, kOp, ": every start of model ", m, " failed: ", all);
}

// Known variances, checked; or as they are, where there are none.
Tensor read_known(const Tensor& known, int64_t models, int64_t n) {
  if (known.numel() == 0) return known;
  const Tensor t = gp_numbers(kOp, "known_noise", known, {models, n}, true);
  const double least = *std::min_element(numbers(t), numbers(t) + t.numel());
  require(least >= 0.0, kOp, ": got known_noise ", least, "; wanted at least 0");
  return t;
}

// What every start came to: parameters (R, M, P + 2), log posterior (R, M), NaN where it failed,
// and (R, M, 2) int64 evaluations and LbfgsStop.
//   X                (M or 1, n, d) rows, shared with a leading 1
//   y                (M or 1, n)
//   known            (M or 1, n) variances >= 0 to which the fitted noise is added; or (1, 0)
//   spec             GpSpec.code of Python
//   priors, leaders  P + 2 PriorKinds, and parameters whose value each takes (itself)
//   boxes            (P + 2, 4): low, high, and the two numbers of the prior
//   starts           (R, M, P + 2); moved into the boxes
// Float64 of any strides; outputs are fresh. Deterministic: the same bits at any number of threads,
// which share the R x M searches. Raises where every start of a model fails. cpu/gp_fit.h says what
// the tolerances are of. jobs_bench/ops/_gp_fit_operator.py finds points of the same kind.
std::tuple<Tensor, Tensor, Tensor> gp_fit_cpu(Tensor X, Tensor y, Tensor known, Ints spec_code,
                                              Ints priors, Ints leaders, Tensor boxes,
                                              Tensor starts, int64_t max_iter,
                                              int64_t max_evaluations, double gradient_tol,
                                              double decrease_tol) {
  const int64_t d = columns_of(kOp, "X", X);
  const GpSpec spec = GpSpec::parse(spec_code.data(), static_cast<int64_t>(spec_code.size()), d);
  const int64_t count = spec.params() + 2;
  const Tensor s = gp_numbers(kOp, "starts", starts, {-1, -1, count});
  const int64_t R = s.size(0), M = s.size(1);
  const Tensor rows = gp_rows(kOp, "X", spec, X, M, d);
  const int64_t n = rows.size(1);
  const Tensor targets = gp_numbers(kOp, "y", y, {M, n}, true);
  const bool has_known = known.numel() > 0;
  const Tensor variances = read_known(known, M, n);
  require(R > 0, kOp, ": got no starts; wanted at least one");
  require(max_iter >= 0 && max_evaluations >= 1, kOp, ": got max_iter ", max_iter,
          " and max_evaluations ", max_evaluations, "; wanted at least 0 and 1");
  const std::vector<GpBox> table = read_boxes(spec, priors, leaders, boxes);
  LbfgsOptions options;
  options.max_iter = max_iter;
  options.max_evaluations = max_evaluations;
  options.gradient_tol = gradient_tol;
  options.decrease_tol = decrease_tol;

  Tensor found = empty(s, {R, M, count}, ScalarType::Double);
  Tensor value = empty(s, {R, M}, ScalarType::Double);
  Tensor counts = empty(s, {R, M, 2}, ScalarType::Long);
  auto* fp = found.mutable_data_ptr<double>();
  auto* values = value.mutable_data_ptr<double>();
  auto* cp = counts.mutable_data_ptr<int64_t>();
  std::copy_n(numbers(s), R * M * count, fp);
  std::vector<std::string> reasons(static_cast<size_t>(R * M));
  share(R * M, 1, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; ++job) {
      const int64_t m = job % M;
      const GpData data{n,
                        d,
                        of_model(rows, m),
                        of_model(targets, m),
                        has_known ? of_model(variances, m) : nullptr,
                        n};
      GpFitOut out = gp_fit(spec, data, table, fp + job * count, options, gp_workspace());
      values[job] = out.value;
      cp[2 * job] = out.search.evaluations;
      cp[2 * job + 1] = static_cast<int64_t>(out.search.stop);
      reasons[static_cast<size_t>(job)] = std::move(out.search.reason);
    }
  });
  for (int64_t m = 0; m < M; ++m) check_model(m, M, values, reasons);
  return {found, value, counts};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("gp_fit", TORCH_BOX(&gp_fit_cpu)); }

}  // namespace
}  // namespace jobs_bench
