#include "../cpu/acquisition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../cpu/acquisition_search.h"
#include "../cpu/simplex_projection.h"
#include "gp_arguments.h"

namespace jobs_bench {
namespace {

constexpr int64_t kQueries = 64;  // scored by one thread at a time
constexpr int64_t kTogether = 4;  // rows that are improved in one batch

// The arguments that say which function, of M models:
//   X (M or 1, n, d), theta (M, P), mean (M,), inverse (M, n, n), alpha (M, n): a GpState
//   weights  (M,) of the models
//   kind     an AcquisitionKind; best finite; beta finite, at least 0
AcquisitionFunction function_of(const char* op, const Tensor& X, const Tensor& theta,
                                const Tensor& mean, const Tensor& inverse, const Tensor& alpha,
                                const Tensor& weights, const Ints& code, int64_t kind, double best,
                                double beta) {
  require(kind >= 0 && kind < kAcquisitionKinds, op, ": got kind ", kind, "; wanted one of [0, ",
          kAcquisitionKinds, ")");
  require(std::isfinite(best) && std::isfinite(beta) && beta >= 0.0, op, ": got best=", best,
          " and beta=", beta, "; wanted finite ones, beta at least 0");
  const int64_t d = columns_of(op, "X", X);
  const GpSpec spec = GpSpec::parse(code.data(), static_cast<int64_t>(code.size()), d);
  const Tensor t = gp_theta(op, spec, theta);
  const int64_t M = t.size(0);
  require(M > 0, op, ": got theta ", show(shape_of(t)), "; wanted at least one model");
  const Tensor rows = gp_rows(op, "X", spec, X, M, d);
  const int64_t n = rows.size(1);
  const Tensor prior = gp_numbers(op, "mean", mean, {M});
  const Tensor w = gp_numbers(op, "inverse", inverse, {M, n, n});
  const Tensor a = gp_numbers(op, "alpha", alpha, {M, n});
  const Tensor by = gp_numbers(op, "weights", weights, {M});
  AcquisitionFunction out = {{}, {numbers(by), numbers(by) + M}, kind, best, beta};
  for (int64_t m = 0; m < M; ++m) {
    out.models.push_back(std::make_unique<GpModel>(spec, of_model(rows, m), n, d, of_model(t, m),
                                                   numbers(prior)[m], of_model(w, m),
                                                   of_model(a, m)));
  }
  return out;
}

AcquisitionScratch& scratch() {
  static thread_local AcquisitionScratch scratch;
  return scratch;
}

// Values (q) and unless null gradients (q, d) at Xq (q, d), shared among threads.
void evaluate(const AcquisitionFunction& function, int64_t q, int64_t d, const double* Xq,
              double* value, double* gradient) {
  share((q + kQueries - 1) / kQueries, 1, [&](int64_t begin, int64_t end) {
    const int64_t i = begin * kQueries;
    acquisition(function, std::min(end * kQueries, q) - i, Xq + i * d, value + i,
                gradient != nullptr ? gradient + i * d : nullptr, scratch());
  });
}

// Values (q,) of the function at Xq (q, d), and gradients (q, d), or (0, d) without x_grad.
// gp_arguments.h is the contract; threads share the queries.
std::tuple<Tensor, Tensor> acquisition_cpu(Tensor Xq, Tensor X, Tensor theta, Tensor mean,
                                           Tensor inverse, Tensor alpha, Tensor weights, Ints code,
                                           int64_t kind, double best, double beta, bool x_grad) {
  const char* op = "acquisition";
  const AcquisitionFunction function =
      function_of(op, X, theta, mean, inverse, alpha, weights, code, kind, best, beta);
  const int64_t d = X.size(2);
  const Tensor rows = gp_numbers(op, "Xq", Xq, {-1, d});
  const int64_t q = rows.size(0);
  Tensor value = empty(rows, {q}, ScalarType::Double);
  Tensor gradient = empty(rows, {x_grad ? q : 0, d}, ScalarType::Double);
  evaluate(function, q, d, numbers(rows), value.mutable_data_ptr<double>(),
           x_grad ? gradient.mutable_data_ptr<double>() : nullptr);
  return {value, gradient};
}

// Rows (S, d), best first, and their values (S,), from starts (R, d) of the design, R > 0: the
// best S = min(R, restarts) of them, apart, each improved (cpu/acquisition_search.h). A value that
// is not a number counts as lowest.
//   bounds, levels, design  see Design::parse
// Deterministic: the same bits at any number of threads, which share the starts.
std::tuple<Tensor, Tensor> acquisition_search_cpu(Tensor starts, Tensor X, Tensor theta,
                                                  Tensor mean, Tensor inverse, Tensor alpha,
                                                  Tensor weights, Ints code, int64_t kind,
                                                  double best, double beta, Tensor bounds,
                                                  Tensor levels, Ints design, int64_t restarts,
                                                  int64_t max_iter, int64_t max_turns) {
  const char* op = "acquisition_search";
  const AcquisitionFunction function =
      function_of(op, X, theta, mean, inverse, alpha, weights, code, kind, best, beta);
  const int64_t d = X.size(2);
  const Tensor b = checked(op, "bounds", bounds, ScalarType::Double, {3, d});
  const Tensor l = checked(op, "levels", levels, ScalarType::Double, {-1});
  const Tensor raw = checked(op, "starts", starts, ScalarType::Double, {-1, d});
  const int64_t R = raw.size(0);
  require(R > 0 && restarts > 0, op, ": got ", R, " starts and restarts=", restarts,
          "; wanted at least 1 each");
  require(max_iter >= 0 && max_turns >= 0, op, ": got max_iter=", max_iter,
          ", max_turns=", max_turns, "; wanted at least 0");
  const Design space = Design::parse(d, numbers(b), numbers(l), l.numel(), design.data(),
                                     static_cast<int64_t>(design.size()));
  std::vector<double> from(numbers(raw), numbers(raw) + R * d), score(R);
  for (int64_t i = 0; i < R; ++i) {
    space.check(&from[i * d], i);
    space.settle(&from[i * d]);
  }
  evaluate(function, R, d, from.data(), score.data(), nullptr);
  for (double& x : score) x = std::isnan(x) ? -HUGE_VAL : x;

  const auto chosen = choose_starts(space, R, from.data(), score.data(), restarts);
  const auto S = static_cast<int64_t>(chosen.size());
  std::vector<double> rows(S * d), values(S);
  for (int64_t k = 0; k < S; ++k) {
    std::copy_n(&from[chosen[k] * d], d, &rows[k * d]);
    values[k] = score[chosen[k]];
  }
  share((S + kTogether - 1) / kTogether, 1, [&](int64_t begin, int64_t end) {
    const Objective objective = [&](int64_t q, const double* Xq, double* value, double* gradient) {
      acquisition(function, q, Xq, value, gradient, scratch());
      for (int64_t i = 0; i < q; ++i) value[i] = std::isnan(value[i]) ? -HUGE_VAL : value[i];
    };
    for (int64_t c = begin; c < end; ++c) {
      const int64_t k = c * kTogether;
      improve(space, objective, std::min(kTogether, S - k), max_iter, max_turns, &rows[k * d],
              &values[k]);
    }
  });

  std::vector<int64_t> order(S);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return values[i] > values[j]; });
  Tensor best_rows = empty(raw, {S, d}, ScalarType::Double);
  Tensor best_values = empty(raw, {S}, ScalarType::Double);
  for (int64_t k = 0; k < S; ++k) {
    std::copy_n(&rows[order[k] * d], d, best_rows.mutable_data_ptr<double>() + k * d);
    best_values.mutable_data_ptr<double>()[k] = values[order[k]];
  }
  return {best_rows, best_values};
}

// The nearest rows to rows (n, k) that sum to 1 between low (k,) and high (k,), between which
// something does.
Tensor project_simplex_cpu(Tensor rows, Tensor low, Tensor high) {
  const char* op = "project_simplex";
  const Tensor x = gp_numbers(op, "rows", rows, {-1, -1});
  const int64_t n = x.size(0), k = x.size(1);
  const Tensor lo = gp_numbers(op, "low", low, {k}), hi = gp_numbers(op, "high", high, {k});
  require(k > 0, op, ": got rows ", show({n, k}), "; wanted at least one column");
  Tensor out = empty(x, {n, k}, ScalarType::Double);
  double* to = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < n; ++i) {
    project_flat(k, numbers(x) + i * k, numbers(lo), numbers(hi), to + i * k);
  }
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) {
  m.impl("acquisition", TORCH_BOX(&acquisition_cpu));
  m.impl("acquisition_search", TORCH_BOX(&acquisition_search_cpu));
  m.impl("project_simplex", TORCH_BOX(&project_simplex_cpu));
}

}  // namespace
}  // namespace jobs_bench
