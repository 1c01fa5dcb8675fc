// The CUDA kernels of csrc/cuda/gp_tasks.h, run by one thread of the host: every stage, piece by
// piece, and every phase of a piece forwards or backwards. What they compute and that no call of a
// phase leans on another can so be tested without a GPU. Arguments are those of csrc/cuda/gp.h.

#include <cstring>
#include <vector>

#include "../../../csrc/cuda/gp_run.h"

namespace {

using namespace jobs_bench;

struct EmulatedTeam {
  bool backwards;

  template <class F>
  void each(int64_t n, const F& f) const {
    for (int64_t q = 0; q < n; ++q) f(backwards ? n - 1 - q : q);
  }
};

struct EmulatedDevice {
  bool backwards;

  int64_t fast() const { return 128 * 129; }

  template <class Task>
  void launch(const Task& task, typename Task::Stage stage, int64_t step, bool square) {
    const int64_t pieces = task.pieces(stage, step);
    for (int64_t q = 0; q < pieces; ++q) {
      const int64_t piece = backwards ? pieces - 1 - q : q;
      std::vector<double> memory(kScratch + fast(), NAN);  // nothing stays from piece to piece
      task.run(EmulatedTeam{backwards}, TileScratch{memory.data()},
               square ? memory.data() + kScratch : nullptr, stage, step, piece);
    }
  }

  void read(double* to, const double* from, int64_t count) {
    if (count > 0) memcpy(to, from, count * sizeof(double));
  }
};

// A plan and its numbers.
struct Planned {
  PlanCode code;
  std::vector<int32_t> numbers;
  GpPlan plan;

  Planned(const int64_t* spec, int64_t size, int64_t d)
      : code(GpSpec::parse(spec, size, d), d), numbers(code.bytes() / 4) {
    code.write(numbers.data());
    plan = code.plan(numbers.data());
  }
};

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void regression(
    const int64_t* spec, int64_t size, int64_t M, int64_t n, int64_t d, const double* X,
    int64_t x_step, const double* y, int64_t y_step, const double* theta, const double* noise,
    int64_t noises, const double* mean, double* value, double* jitter, double* gX, double* gy,
    double* gtheta, double* gnoise, double* gmean, double* inverse, double* alpha, double* state,
    bool backwards) {
  const Planned planned(spec, size, d);
  GpRegression task = {
      planned.plan, M,  n,  noises, y_step, {X, n, x_step}, y,       theta, noise,   mean,   value,
      jitter,       gX, gy, gtheta, gnoise, gmean,          inverse, alpha, nullptr, nullptr};
  std::vector<double> room(M * task.room_of_one(), NAN), there(2 * M);
  task.room = room.data();
  task.state = there.data();
  EmulatedDevice device{backwards};
  run_regression(device, task, state);
}

__attribute__((visibility("default"))) void covariance(
    const int64_t* spec, int64_t size, int64_t M, int64_t n, int64_t m, int64_t d, const double* X1,
    int64_t step1, const double* X2, int64_t step2, const double* theta, double* out,
    const double* grad, double* gX1, double* gX2, double* gtheta, bool backwards) {
  const Planned planned(spec, size, d);
  GpCovariance task = {planned.plan, M,   {X1, n, step1}, {X2, m, step2}, theta, out, grad,
                       gX1,          gX2, gtheta,         nullptr};
  std::vector<double> room(M * task.room_of_one(), NAN);
  task.room = room.data();
  EmulatedDevice device{backwards};
  run_covariance(device, task);
}

__attribute__((visibility("default"))) void query(
    const int64_t* spec, int64_t size, int64_t M, int64_t q, int64_t n, int64_t d, const double* Xq,
    int64_t stepq, const double* X, int64_t step, const double* theta, const double* mean,
    const double* inverse, const double* alpha, double* mu, double* variance, double* mu_x,
    double* variance_x, double* state, bool backwards) {
  const Planned planned(spec, size, d);
  GpQuery task = {planned.plan, M,  {Xq, q, stepq}, {X, n, step}, theta,      mean,    inverse,
                  alpha,        mu, variance,       mu_x,         variance_x, nullptr, nullptr};
  std::vector<double> room(M * task.room_of_one(), NAN), there(M * task.strips());
  task.room = room.data();
  task.state = there.data();
  EmulatedDevice device{backwards};
  run_query(device, task, state);
}

}  // extern "C"
