#include "gp_points.h"

#include <algorithm>
#include <cmath>

#include "../core/require.h"

namespace jobs_bench {
namespace {

bool is_root(const GpSpec& spec, int64_t column) {
  return std::find(spec.roots.begin(), spec.roots.end(), column) != spec.roots.end();
}

double rooted(double x) { return std::sqrt(x > kRootFloor ? x : kRootFloor); }

double root_slope(double x) { return x > kRootFloor ? 0.5 / std::sqrt(x) : 0.0; }

// Column k of n rows, its root if it is one, to `to` and zeros after.
void copy_column(const GpSpec& spec, const double* X, int64_t n, int64_t d, int64_t k, int64_t ld,
                 double* to) {
  if (is_root(spec, k)) {
    for (int64_t i = 0; i < n; ++i) to[i] = rooted(X[i * d + k]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = X[i * d + k];
  }
  std::fill(to + n, to + ld, 0.0);
}

double factor_of(int64_t form, double t, double s, const double* p) {
  if (form == kDecay) return gp_factor<kDecay>(t, s, p[0], p[1], p[2]);
  if (form == kTruncated) return gp_factor<kTruncated>(t, s, p[0], p[1], p[2]);
  return gp_factor<kLinearTruncated>(t, s, p[0], p[1], p[2]);
}

double factor_by_t(int64_t form, double t, const double* p) {
  double a, b, c, by_t;
  if (form == kDecay) gp_factor_slopes<kDecay>(t, t, p[0], p[1], a, b, c, by_t);
  if (form == kTruncated) gp_factor_slopes<kTruncated>(t, t, p[0], p[1], a, b, c, by_t);
  if (form == kLinearTruncated) gp_factor_slopes<kLinearTruncated>(t, t, p[0], p[1], a, b, c, by_t);
  return by_t;
}

}  // namespace

Settings::Settings(const GpSpec& spec, const double* theta) {
  for (const GpTerm& term : spec.terms) {
    int64_t at = term.begin + term.s() + term.c();
    for (const GpFactor& factor : term.fidelity) {
      forms.push_back(factor.form);
      for (int64_t k = 0; k < kMostFormParams; ++k) {
        factors.push_back(k < factor.params() ? theta[at + k] : 0.0);
      }
      at += factor.params();
    }
  }
}

Points::Points(const GpSpec& spec, const double* X, int64_t n_, int64_t d, const double* theta,
               double* to)
    : n(n_), ld(leading(n_)), at(to) {
  for (const GpTerm& term : spec.terms) {
    for (int64_t k = 0; k < term.s(); ++k, to += ld) {
      copy_column(spec, X, n, d, term.smooth[k], ld, to);
      const double length = theta[term.begin + k];
      double most = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        to[i] /= length;
        most = std::max(most, std::fabs(to[i]));
      }
      require(most < 1e150, "gp: got a ratio ", most, " of column ", term.smooth[k],
              " to its lengthscale ", length, "; wanted below 1e150");
    }
    for (int64_t k : term.names) {
      copy_column(spec, X, n, d, k, ld, to);
      to += ld;
    }
    for (const GpFactor& factor : term.fidelity) {
      copy_column(spec, X, n, d, factor.column, ld, to);
      to += ld;
    }
  }
}

PairUp::PairUp(const GpSpec& spec, const Settings& settings, const double* theta, const Points& a,
               const Points& b)
    : pairs{nullptr,       static_cast<int64_t>(spec.terms.size()), a.ld, b.ld, spec.params(),
            spec.columns()} {
  int64_t column = 0, factor = 0;
  for (const GpTerm& term : spec.terms) {
    terms.push_back({term.kind, term.s(), term.c(), term.f(), a.at + column * a.ld,
                     b.at + column * b.ld, theta + term.begin + term.s(),
                     settings.forms.data() + factor,
                     settings.factors.data() + factor * kMostFormParams, theta[term.scale()]});
    column += term.columns();
    factor += term.f();
  }
  pairs.terms = terms.data();
}

void finish_theta(const GpSpec& spec, const double* sums, const double* theta, double* out) {
  for (const GpTerm& term : spec.terms) {
    const double scale = theta[term.scale()];
    int64_t at = term.begin;
    for (int64_t k = 0; k < term.s(); ++k, ++at) out[at] = 2.0 * sums[at] / theta[at];
    for (int64_t k = 0; k < term.c(); ++k, ++at) out[at] = -scale * sums[at];
    for (; at < term.scale(); ++at) out[at] = scale * sums[at];
    out[at] = sums[at];
  }
}

void finish_rows(const GpSpec& spec, const double* gx, const double* theta, double factor,
                 int64_t rows, int64_t d, const double* X, double* out) {
  const int64_t columns = spec.columns();
  int64_t at = 0;
  const auto add = [&](int64_t column, double by) {
    const bool root = is_root(spec, column);
    for (int64_t i = 0; i < rows; ++i) {
      const double slope = root ? by * root_slope(X[i * d + column]) : by;
      out[i * d + column] += slope * gx[i * columns + at];
    }
    ++at;
  };
  for (const GpTerm& term : spec.terms) {
    for (int64_t k = 0; k < term.s(); ++k) add(term.smooth[k], factor / theta[term.begin + k]);
    at += term.c();
    for (const GpFactor& f : term.fidelity) add(f.column, factor * theta[term.scale()]);
  }
}

double prior_variance(const GpSpec& spec, const double* theta, const double* x, double factor,
                      double* by_x) {
  double sum = 0.0;
  for (const GpTerm& term : spec.terms) {
    double values[kMostFactors], slopes[kMostFactors], product = theta[term.scale()];
    int64_t at = term.begin + term.s() + term.c();
    for (int64_t k = 0; k < term.f(); ++k) {
      const GpFactor& f = term.fidelity[k];
      double p[kMostFormParams] = {};
      std::copy_n(theta + at, f.params(), p);
      at += f.params();
      const double raw = x[f.column], t = is_root(spec, f.column) ? rooted(raw) : raw;
      values[k] = factor_of(f.form, t, t, p);
      slopes[k] = 2.0 * factor_by_t(f.form, t, p);
      if (is_root(spec, f.column)) slopes[k] *= root_slope(raw);
    }
    for (int64_t k = 0; by_x != nullptr && k < term.f(); ++k) {
      double others = factor * product;
      for (int64_t q = 0; q < term.f(); ++q) others *= q == k ? slopes[q] : values[q];
      by_x[term.fidelity[k].column] += others;
    }
    for (int64_t k = 0; k < term.f(); ++k) product *= values[k];
    sum += product;
  }
  return sum;
}

}  // namespace jobs_bench
