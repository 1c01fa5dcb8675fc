#pragma once

#include <vector>

#include "../cpu/gp_spec.h"
#include "gp_tasks.h"

// The order of the stages, on whatever runs them: a Device has
//     launch(task, stage, step, fast)   all pieces of a stage after what was launched before,
//     `fast`
//                                       saying whether there is fast memory for the square
//     read(to, from, count)             doubles from where the task lies, after all of that
//     fast()                            doubles of fast memory that a team has beyond kScratch

namespace jobs_bench {

// A covariance to be sent to a device: the numbers of a GpPlan in one piece.
class PlanCode {
 public:
  PlanCode(const GpSpec& spec, int64_t d)
      : terms_(static_cast<int32_t>(spec.terms.size())), d_(static_cast<int32_t>(d)) {
    for (const GpTerm& term : spec.terms) {
      const auto column = static_cast<int32_t>(columns_.size());
      const auto begin = static_cast<int32_t>(term.begin);
      PlanTerm t = {static_cast<int32_t>(term.kind),
                    static_cast<int32_t>(term.s()),
                    static_cast<int32_t>(term.c()),
                    static_cast<int32_t>(term.f()),
                    column,
                    begin,
                    static_cast<int32_t>(term.scale()),
                    {}};
      for (int64_t k = 0; k < term.s(); ++k) {
        add(spec, term.smooth[k], begin + static_cast<int32_t>(k), -1);
      }
      for (int64_t k : term.names) add(spec, k, -1, -1);
      for (int64_t k = 0; k < term.f(); ++k) {
        t.forms[k] = static_cast<int32_t>(term.fidelity[k].form);
        add(spec, term.fidelity[k].column, -1, t.scale);
      }
      list_.push_back(t);
    }
    params_ = static_cast<int32_t>(spec.params());
  }

  int64_t bytes() const { return terms_bytes() + columns_bytes(); }

  void write(void* to) const {
    memcpy(to, list_.data(), terms_bytes());
    memcpy(static_cast<char*>(to) + terms_bytes(), columns_.data(), columns_bytes());
  }

  // The plan, its numbers being at `at`.
  GpPlan plan(const void* at) const {
    const auto* column =
        reinterpret_cast<const PlanColumn*>(static_cast<const char*>(at) + terms_bytes());
    return {terms_, static_cast<int32_t>(columns_.size()), params_,
            d_,     static_cast<const PlanTerm*>(at),      column};
  }

 private:
  int64_t terms_bytes() const { return static_cast<int64_t>(list_.size() * sizeof(PlanTerm)); }
  int64_t columns_bytes() const {
    return static_cast<int64_t>(columns_.size() * sizeof(PlanColumn));
  }
  void add(const GpSpec& spec, int64_t source, int32_t length, int32_t scale) {
    bool root = false;
    for (int64_t k : spec.roots) root = root || k == source;
    columns_.push_back({static_cast<int32_t>(source), root, length, scale});
  }

  int32_t terms_, d_, params_;
  std::vector<PlanTerm> list_;
  std::vector<PlanColumn> columns_;
};

constexpr int64_t kSmall = 128;  // rows up to which one team does a model on its own

// state: (M, 2) numbers, GpRegression's, here.
template <class Device>
void run_regression(Device& device, const GpRegression& task, double* state) {
  using R = GpRegression;
  const bool fast = R::square_room(task.n) <= device.fast();
  const auto read = [&] { device.read(state, task.state, 2 * task.models); };
  if (task.n <= kSmall) {
    device.launch(task, R::kWhole, 0, fast);
    return read();
  }
  const auto settled = [&] {
    read();
    bool all = true;
    for (int64_t m = 0; m < task.models; ++m) all = all && state[2 * m] >= 0.0;
    return all;
  };
  device.launch(task, R::kPoints, 0, false);
  for (int64_t rung = 0; rung < kJitterSteps; ++rung) {
    device.launch(task, R::kGram, rung, false);
    for (int64_t p = 0; p < task.tiles(); ++p) device.launch(task, R::kFactor, p, false);
    device.launch(task, R::kSettle, rung, false);
    if (settled()) break;
  }
  device.launch(task, R::kInvert, 0, false);
  device.launch(task, R::kSolve, 0, false);
  device.launch(task, R::kWeigh, 0, false);
  if (task.inverse != nullptr) device.launch(task, R::kCopy, 0, false);
  if (task.gradients()) {
    device.launch(task, R::kGather, 0, false);
    device.launch(task, R::kContract, 0, false);
  }
  device.launch(task, R::kEnd, 0, false);
  read();
}

template <class Device>
void run_covariance(Device& device, const GpCovariance& task) {
  using C = GpCovariance;
  device.launch(task, C::kPoints1, 0, false);
  device.launch(task, C::kPoints2, 0, false);
  if (task.gtheta == nullptr) return device.launch(task, C::kGram, 0, false);
  device.launch(task, C::kRows1, 0, false);
  if (task.gX2 != nullptr) device.launch(task, C::kRows2, 0, false);
  device.launch(task, C::kEnd, 0, false);
}

// state: (M, tiles of q) numbers, GpQuery's, here.
template <class Device>
void run_query(Device& device, const GpQuery& task, double* state) {
  device.launch(task, GpQuery::kPoints, 0, false);
  device.launch(task, GpQuery::kStrips, 0, false);
  device.read(state, task.state, task.models * task.strips());
}

}  // namespace jobs_bench
