#include "../cuda/gp.h"

#include "device.h"

// The Gaussian process operators on CUDA: gp_arguments.h is the contract here too, but for three
// things. Values are checked by the public functions in Python alone, on the device; here shapes.
// The bits are the same at every call, and those of gp_kernel are the CPU's; the other outputs
// agree with the CPU's to rounding. And gp_mll, gp_condition and gp_posterior wait for the device,
// since they raise what only it knows.

namespace jobs_bench {
namespace {

const double* numbers(const Tensor& t) { return t.const_data_ptr<double>(); }
double* fresh(Tensor& t) { return t.mutable_data_ptr<double>(); }

Tensor doubles(const Tensor& like, const Ints& shape) {
  return empty(like, shape, ScalarType::Double);
}

Tensor shaped(const char* op, const char* name, const Tensor& t, const Ints& shape,
              const Tensor& like, bool shared = false) {
  require(t.is_cuda() && t.get_device_index() == like.get_device_index(), op, ": got ", name,
          " elsewhere than theta, on CUDA device ", like.get_device_index());
  return checked(op, name, t, ScalarType::Double, shape, shared);
}

// Distance between the parts of two models.
int64_t step_of(const Tensor& t) { return t.size(0) > 1 ? t.numel() / t.size(0) : 0; }

GpRows rows_of(const Tensor& X) { return {numbers(X), X.size(1), step_of(X)}; }

// A covariance on the device of `theta`, which is made current.
struct Planned {
  OnDevice on;
  PlanCode code;
  Tensor theta, numbers_there;
  GpPlan plan;
  int64_t M;

  Planned(const char* op, const char* name, const Tensor& X, const Tensor& theta_, const Ints& spec)
      : on(theta_), code(parse(op, name, X, spec)), theta(theta_), numbers_there(theta_) {
    theta = shaped(op, "theta", theta_, {-1, code.plan(nullptr).params}, theta_);
    M = theta.size(0);
    numbers_there = empty(theta, {code.bytes() / 8 + 1}, ScalarType::Long);
    void* to = numbers_there.mutable_data_ptr<int64_t>();
    on.check(op, send_plan(code, to, on.stream));
    plan = code.plan(to);
  }

  Tensor rows(const char* op, const char* name, const Tensor& X) const {
    return shaped(op, name, X, {M, -1, plan.d}, theta, true);
  }

 private:
  static PlanCode parse(const char* op, const char* name, const Tensor& X, const Ints& spec) {
    require(X.dim() == 3, op, ": got ", name, " ", show(shape_of(X)), "; wanted (M, n, d)");
    const int64_t d = X.size(2);
    return PlanCode(GpSpec::parse(spec.data(), static_cast<int64_t>(spec.size()), d), d);
  }
};

// A regression without its outputs.
struct Regression {
  Planned planned;
  Tensor X, y, noise, mean, state;
  GpRegression task;

  Regression(const char* op, const Tensor& X_, const Tensor& y_, const Tensor& theta,
             const Tensor& noise_, const Tensor& mean_, const Ints& spec)
      : planned(op, "X", X_, theta, spec),
        X(planned.rows(op, "X", X_)),
        y(shaped(op, "y", y_, {planned.M, X.size(1)}, theta, true)),
        noise(shaped(op, "noise", noise_, {planned.M, -1}, theta)),
        mean(shaped(op, "mean", mean_, {planned.M}, theta)),
        state(doubles(theta, {planned.M, 2})),
        task() {
    const int64_t n = X.size(1), noises = noise.size(1);
    require(noises == 1 || noises == n, op, ": got noise ", show(shape_of(noise)), "; wanted ",
            show({planned.M, 1}), " or ", show({planned.M, n}));
    task.plan = planned.plan;
    task.models = planned.M;
    task.n = n;
    task.noises = noises;
    task.X = rows_of(X);
    task.y = numbers(y);
    task.y_step = step_of(y);
    task.theta = numbers(planned.theta);
    task.noise = numbers(noise);
    task.mean = numbers(mean);
    task.state = fresh(state);
  }

  void run(const char* op) {
    if (planned.M == 0) return;
    Tensor room = doubles(state, {planned.M * task.room_of_one()});
    task.room = fresh(room);
    std::vector<double> found(2 * planned.M);
    planned.on.check(op, launch_regression(task, found.data(), planned.on.stream));
    for (int64_t m = 0; m < planned.M; ++m) {
      const double rung = found[2 * m], row = found[2 * m + 1];
      require(rung >= 0.0, op, ": covariance of ", task.n, " points of model ", m,
              " not positive definite at row ", row, " with a jitter of ",
              jitter_step(kJitterSteps - 1), " outputscales");
      require(row > -2.0, op, ": got a log likelihood or a gradient of model ", m,
              " that is not finite");
    }
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> gp_mll_cuda(
    Tensor X, Tensor y, Tensor theta, Tensor noise, Tensor mean, Ints spec, bool x_grad) {
  Regression r("gp_mll", X, y, theta, noise, mean, spec);
  const int64_t M = r.planned.M, n = r.task.n, d = r.task.plan.d;
  Tensor value = doubles(theta, {M}), jitter = doubles(theta, {M});
  Tensor gX = zeros(theta, {M, n, d}, ScalarType::Double), gy = doubles(theta, {M, n});
  Tensor gtheta = doubles(theta, {M, r.task.plan.params});
  Tensor gnoise = doubles(theta, {M, r.task.noises}), gmean = doubles(theta, {M});
  r.task.value = fresh(value);
  r.task.jitter = fresh(jitter);
  r.task.gX = x_grad ? fresh(gX) : nullptr;
  r.task.gy = fresh(gy);
  r.task.gtheta = fresh(gtheta);
  r.task.gnoise = fresh(gnoise);
  r.task.gmean = fresh(gmean);
  r.run("gp_mll");
  return {value, jitter, gX, gy, gtheta, gnoise, gmean};
}

std::tuple<Tensor, Tensor, Tensor> gp_condition_cuda(Tensor X, Tensor y, Tensor theta, Tensor noise,
                                                     Tensor mean, Ints spec) {
  Regression r("gp_condition", X, y, theta, noise, mean, spec);
  const int64_t M = r.planned.M, n = r.task.n;
  Tensor inverse = doubles(theta, {M, n, n}), alpha = doubles(theta, {M, n});
  Tensor jitter = doubles(theta, {M});
  r.task.inverse = fresh(inverse);
  r.task.alpha = fresh(alpha);
  r.task.jitter = fresh(jitter);
  r.run("gp_condition");
  return {inverse, alpha, jitter};
}

Tensor gp_kernel_cuda(Tensor X1, Tensor X2, Tensor theta, Ints spec) {
  const char* op = "gp_kernel";
  const Planned p(op, "X1", X1, theta, spec);
  const Tensor a = p.rows(op, "X1", X1), b = p.rows(op, "X2", X2);
  Tensor out = doubles(theta, {p.M, a.size(1), b.size(1)});
  if (p.M == 0) return out;
  GpCovariance task = {};
  task.plan = p.plan;
  task.models = p.M;
  task.X1 = rows_of(a);
  task.X2 = rows_of(b);
  task.theta = numbers(p.theta);
  task.out = fresh(out);
  Tensor room = doubles(theta, {p.M * task.room_of_one()});
  task.room = fresh(room);
  p.on.check(op, launch_covariance(task, p.on.stream));
  return out;
}

std::tuple<Tensor, Tensor, Tensor> gp_kernel_backward_cuda(Tensor grad, Tensor X1, Tensor X2,
                                                           Tensor theta, Ints spec, bool x_grad) {
  const char* op = "gp_kernel_backward";
  const Planned p(op, "X1", X1, theta, spec);
  const Tensor a = p.rows(op, "X1", X1), b = p.rows(op, "X2", X2);
  const int64_t n = a.size(1), m = b.size(1);
  const Tensor g = shaped(op, "grad", grad, {p.M, n, m}, theta);
  Tensor gX1 = zeros(theta, {p.M, n, p.plan.d}, ScalarType::Double);
  Tensor gX2 = zeros(theta, {p.M, m, p.plan.d}, ScalarType::Double);
  Tensor gtheta = doubles(theta, {p.M, p.plan.params});
  if (p.M == 0) return {gX1, gX2, gtheta};
  GpCovariance task = {};
  task.plan = p.plan;
  task.models = p.M;
  task.X1 = rows_of(a);
  task.X2 = rows_of(b);
  task.theta = numbers(p.theta);
  task.grad = numbers(g);
  task.gX1 = x_grad ? fresh(gX1) : nullptr;
  task.gX2 = x_grad ? fresh(gX2) : nullptr;
  task.gtheta = fresh(gtheta);
  Tensor room = doubles(theta, {p.M * task.room_of_one()});
  task.room = fresh(room);
  p.on.check(op, launch_covariance(task, p.on.stream));
  return {gX1, gX2, gtheta};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> gp_posterior_cuda(Tensor Xq, Tensor X, Tensor theta,
                                                             Tensor mean, Tensor inverse,
                                                             Tensor alpha, Ints spec) {
  const char* op = "gp_posterior";
  const Planned p(op, "X", X, theta, spec);
  const Tensor rows = p.rows(op, "X", X), queries = p.rows(op, "Xq", Xq);
  const int64_t n = rows.size(1), q = queries.size(1), d = p.plan.d;
  const Tensor mu0 = shaped(op, "mean", mean, {p.M}, theta);
  const Tensor W = shaped(op, "inverse", inverse, {p.M, n, n}, theta);
  const Tensor weights = shaped(op, "alpha", alpha, {p.M, n}, theta);
  Tensor mu = doubles(theta, {p.M, q}), variance = doubles(theta, {p.M, q});
  Tensor mu_x = doubles(theta, {p.M, q, d}), variance_x = doubles(theta, {p.M, q, d});
  if (p.M == 0 || q == 0) return {mu, variance, mu_x, variance_x};
  GpQuery task = {};
  task.plan = p.plan;
  task.models = p.M;
  task.Xq = rows_of(queries);
  task.X = rows_of(rows);
  task.theta = numbers(p.theta);
  task.mean = numbers(mu0);
  task.inverse = numbers(W);
  task.alpha = numbers(weights);
  task.mu = fresh(mu);
  task.variance = fresh(variance);
  task.mu_x = fresh(mu_x);
  task.variance_x = fresh(variance_x);
  Tensor room = doubles(theta, {p.M * task.room_of_one()});
  Tensor state = doubles(theta, {p.M * task.strips()});
  task.room = fresh(room);
  task.state = fresh(state);
  std::vector<double> found(p.M * task.strips());
  p.on.check(op, launch_query(task, found.data(), p.on.stream));
  for (size_t k = 0; k < found.size(); ++k) {
    require(found[k] == 0.0, op, ": got a mean or a variance of model ",
            static_cast<int64_t>(k) / task.strips(), " that is not finite");
  }
  return {mu, variance, mu_x, variance_x};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CUDA, m) {
  m.impl("gp_kernel", TORCH_BOX(&gp_kernel_cuda));
  m.impl("gp_kernel_backward", TORCH_BOX(&gp_kernel_backward_cuda));
  m.impl("gp_mll", TORCH_BOX(&gp_mll_cuda));
  m.impl("gp_condition", TORCH_BOX(&gp_condition_cuda));
  m.impl("gp_posterior", TORCH_BOX(&gp_posterior_cuda));
}

}  // namespace
}  // namespace jobs_bench
