#include "gp_spec.h"

#include <algorithm>
#include <cmath>

#include "../core/require.h"

namespace jobs_bench {
namespace {

// Takes numbers off the front of a code.
struct Reader {
  const int64_t* at;
  const int64_t* end;
  int64_t columns;

  // A number of [0, most).
  int64_t next(const char* what, int64_t most) {
    require(at < end, "gp spec: got a code that ends before ", what);
    const int64_t x = *at++;
    require(x >= 0 && x < most, "gp spec: got ", what, " ", x, "; wanted 0 to ", most - 1);
    return x;
  }

  int64_t count(const char* what) { return next(what, end - at + 1); }

  std::vector<int64_t> list(const char* what) {
    std::vector<int64_t> out(count(what));
    for (int64_t& x : out) x = next(what, columns);
    return out;
  }
};

void check_distinct(std::vector<int64_t> list, const std::vector<int64_t>& more) {
  list.insert(list.end(), more.begin(), more.end());
  std::sort(list.begin(), list.end());
  const auto twice = std::adjacent_find(list.begin(), list.end());
  require(twice == list.end(), "gp spec: got column ", twice == list.end() ? 0 : *twice,
          " twice; wanted distinct ones");
}

}  // namespace

GpSpec GpSpec::parse(const int64_t* code, int64_t size, int64_t columns) {
  Reader in{code, code + size, columns};
  GpSpec out;
  const int64_t terms = in.count("terms");
  require(terms > 0, "gp spec: got no terms; wanted at least one");
  out.roots = in.list("roots");
  check_distinct(out.roots, {});
  int64_t begin = 0;
  for (int64_t q = 0; q < terms; ++q) {
    GpTerm term;
    term.kind = in.next("kind", kGpKinds);
    term.smooth = in.list("smooth column");
    term.names = in.list("named column");
    check_distinct(term.smooth, term.names);
    term.params = term.s() + term.c() + 1;
    const int64_t factors = in.next("fidelity factors", kMostFactors + 1);
    for (int64_t k = 0; k < factors; ++k) {
      const int64_t form = in.next("form", kGpForms);
      term.fidelity.push_back({form, in.next("fidelity column", columns)});
      term.params += kGpFormParams[form];
    }
    term.begin = begin;
    begin += term.params;
    out.terms.push_back(term);
  }
  require(in.at == in.end, "gp spec: got ", in.end - in.at, " numbers too many");
  return out;
}

int64_t GpSpec::params() const { return terms.back().begin + terms.back().params; }

int64_t GpSpec::columns() const {
  int64_t sum = 0;
  for (const GpTerm& term : terms) sum += term.columns();
  return sum;
}

double GpSpec::scale(const double* theta) const {
  double sum = 0.0;
  for (const GpTerm& term : terms) sum += theta[term.scale()];
  return sum;
}

void GpSpec::check_theta(const char* op, const double* theta, int64_t model) const {
  const auto check = [&](int64_t k, bool above) {
    if (std::isfinite(theta[k]) && (above ? theta[k] > 0 : theta[k] >= 0)) return;
    require(false, op, ": got theta[", model, "][", k, "] = ", theta[k], "; wanted finite and ",
            above ? "above 0" : "at least 0");
  };
  for (const GpTerm& term : terms) {
    int64_t at = term.begin;
    for (int64_t k = 0; k < term.s(); ++k) check(at++, true);
    for (int64_t k = 0; k < term.c(); ++k) check(at++, false);
    for (const GpFactor& factor : term.fidelity) {
      for (int64_t k = 0; k < factor.params(); ++k) check(at++, factor.form == kDecay && k == 1);
    }
    check(at, true);
  }
}

void GpSpec::check_rows(const char* op, const char* name, const double* X, int64_t n,
                        int64_t d) const {
  check_numbers(op, name, X, n * d);
  for (const GpTerm& term : terms) {
    for (const GpFactor& factor : term.fidelity) {
      const double most = factor.form == kDecay ? HUGE_VAL : 1.0;
      for (int64_t i = 0; i < n; ++i) {
        const double t = X[i * d + factor.column];
        if (t >= 0.0 && t <= most) continue;
        require(false, op, ": got ", name, " with ", t, " in fidelity column ", factor.column,
                " of row ", i, "; wanted 0 to ", most);
      }
    }
  }
}

void check_numbers(const char* op, const char* name, const double* x, int64_t size, bool above) {
  for (int64_t q = 0; q < size; ++q) {
    if (std::isfinite(x[q]) && (!above || x[q] > 0.0)) continue;
    require(false, op, ": got ", name, " with ", x[q], " at ", q, "; wanted finite numbers",
            above ? " above 0" : "");
  }
}

}  // namespace jobs_bench
