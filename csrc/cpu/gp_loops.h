// The loops of csrc/cpu/gp_*.cpp. No include guard and no includes: the file is included once for
// each instruction set, inside a namespace of its own, with JB_LANES doubles to a vector. All
// buffers are padded by the caller: rows to multiples of 4, columns to multiples of 16.

typedef double Vec __attribute__((vector_size(8 * JB_LANES)));
typedef double VecAt __attribute__((vector_size(8 * JB_LANES), aligned(8), may_alias));

inline Vec load(const double* p) { return *reinterpret_cast<const VecAt*>(p); }
inline void store(double* p, Vec v) { *reinterpret_cast<VecAt*>(p) = v; }
inline Vec fill(double x) { return x - Vec{}; }
using jobs_bench::fused;
inline Vec fused(Vec a, Vec b, Vec c) { return JB_FUSED(a, b, c); }

constexpr int64_t kHigh = 4;
constexpr int64_t kWide = 2 * JB_LANES;
constexpr int64_t kArea = kHigh * kWide;

inline double total(Vec v) {
  double sum = 0.0;
  for (int lane = 0; lane < JB_LANES; ++lane) sum += v[lane];
  return sum;
}

// Squared distances and Hamming distances of a tile of kHigh x kWide pairs.
inline void distances(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, double* r2,
                      double* far) {
  Vec sum[kHigh][2] = {};
  for (int64_t k = 0; k < p.smooth; ++k) {
    const double* a = p.a + k * lda + i;
    const double* b = p.b + k * ldb + j;
    const Vec b0 = load(b), b1 = load(b + JB_LANES);
    for (int64_t r = 0; r < kHigh; ++r) {
      const Vec x = fill(a[r]), d0 = x - b0, d1 = x - b1;
      sum[r][0] = fused(d0, d0, sum[r][0]);
      sum[r][1] = fused(d1, d1, sum[r][1]);
    }
  }
  for (int64_t r = 0; r < kHigh; ++r) {
    store(r2 + r * kWide, sum[r][0]);
    store(r2 + r * kWide + JB_LANES, sum[r][1]);
  }
  for (int64_t q = 0; q < kArea; ++q) {
    r2[q] = r2[q] < kFarAway ? r2[q] : kFarAway;
    far[q] = 0.0;
  }
  for (int64_t k = 0; k < p.names; ++k) {
    const double w = p.weights[k];
    const double* a = p.a + (p.smooth + k) * lda + i;
    const double* b = p.b + (p.smooth + k) * ldb + j;
    for (int64_t r = 0; r < kHigh; ++r) {
      const double x = a[r];
      for (int64_t c = 0; c < kWide; ++c) far[r * kWide + c] += x != b[c] ? w : 0.0;
    }
  }
}

// The two sides' fidelities of factor k over a tile.
inline void fidelities(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, int64_t k,
                       double* t, double* s) {
  const double* a = p.a + (p.smooth + p.names + k) * lda + i;
  const double* b = p.b + (p.smooth + p.names + k) * ldb + j;
  for (int64_t r = 0; r < kHigh; ++r) {
    for (int64_t c = 0; c < kWide; ++c) {
      t[r * kWide + c] = a[r];
      s[r * kWide + c] = b[c];
    }
  }
}

template <int64_t form>
void factor_tile(const double* t, const double* s, const double* p, double* out) {
  const double p0 = p[0], p1 = p[1], p2 = p[2];
  for (int64_t q = 0; q < kArea; ++q) out[q] = gp_factor<form>(t[q], s[q], p0, p1, p2);
}

template <int64_t form>
void slopes_tile(const double* t, const double* s, const double* p, double* by) {
  const double p0 = p[0], p1 = p[1];
  for (int64_t q = 0; q < kArea; ++q) {
    double by_0, by_1, by_2, by_t;
    gp_factor_slopes<form>(t[q], s[q], p0, p1, by_0, by_1, by_2, by_t);
    by[q] = by_0;
    by[kArea + q] = by_1;
    by[2 * kArea + q] = by_2;
    by[3 * kArea + q] = by_t;
  }
}

// Factor k over a tile.
inline void factor_of(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, int64_t k,
                      double* out) {
  double t[kArea], s[kArea];
  fidelities(p, lda, ldb, i, j, k, t, s);
  const double* settings = p.settings + k * kMostFormParams;
  switch (p.forms[k]) {
    case kDecay:
      return factor_tile<kDecay>(t, s, settings, out);
    case kTruncated:
      return factor_tile<kTruncated>(t, s, settings, out);
    default:
      return factor_tile<kLinearTruncated>(t, s, settings, out);
  }
}

// Slopes of factor k over a tile, in its three parameters and in t.
inline void slopes_of(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, int64_t k,
                      double* by) {
  double t[kArea], s[kArea];
  fidelities(p, lda, ldb, i, j, k, t, s);
  const double* settings = p.settings + k * kMostFormParams;
  switch (p.forms[k]) {
    case kDecay:
      return slopes_tile<kDecay>(t, s, settings, by);
    case kTruncated:
      return slopes_tile<kTruncated>(t, s, settings, by);
    default:
      return slopes_tile<kLinearTruncated>(t, s, settings, by);
  }
}

// One term over a tile, written to `out` or added to it.
template <int64_t kind>
void gram_tile(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, bool add,
               double* out) {
  double r2[kArea], far[kArea];
  distances(p, lda, ldb, i, j, r2, far);
  for (int64_t q = 0; q < kArea; ++q) far[q] = exp_of(-(gp_reach<kind>(r2[q]) + far[q]));
  for (int64_t q = 0; q < kArea; ++q) r2[q] = p.scale * (gp_shape<kind>(r2[q]) * far[q]);
  for (int64_t k = 0; k < p.factors; ++k) {
    factor_of(p, lda, ldb, i, j, k, far);
    for (int64_t q = 0; q < kArea; ++q) r2[q] *= far[q];
  }
  for (int64_t q = 0; q < kArea; ++q) out[q] = add ? out[q] + r2[q] : r2[q];
}

// Rows [i0, i1) of the covariance, `cols` columns, to `out`.
void gram(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, double* out, int64_t ldo) {
  double tile[kArea];
  for (int64_t i = i0; i < i1; i += kHigh) {
    for (int64_t j = 0; j < cols; j += kWide) {
      for (int64_t q = 0; q < p.count; ++q) {
        const PairTerm& term = p.terms[q];
        switch (term.kind) {
          case kMatern12:
            gram_tile<kMatern12>(term, p.lda, p.ldb, i, j, q > 0, tile);
            break;
          case kMatern32:
            gram_tile<kMatern32>(term, p.lda, p.ldb, i, j, q > 0, tile);
            break;
          case kMatern52:
            gram_tile<kMatern52>(term, p.lda, p.ldb, i, j, q > 0, tile);
            break;
          default:
            gram_tile<kRbf>(term, p.lda, p.ldb, i, j, q > 0, tile);
        }
      }
      for (int64_t r = 0; r < kHigh; ++r) {
        double* o = out + (i - i0 + r) * ldo + j;
        store(o, load(tile + r * kWide));
        store(o + JB_LANES, load(tile + r * kWide + JB_LANES));
      }
    }
  }
}

// Adds to a vector at `to` the tile `x`.
inline void gather_tile(const double* x, double* to) {
  Vec all = load(to);
  for (int64_t q = 0; q < kArea; q += JB_LANES) all += load(x + q);
  store(to, all);
}

// Contraction of one term over a tile with weights g. sums: a vector for each of its parameters;
// rows: kHigh vectors, `columns` of them apart, for each of its columns, or null.
template <int64_t kind>
void contract_tile(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j,
                   const double* g, double* sums, double* rows, int64_t columns) {
  double r2[kArea], e[kArea], w[kArea], u[kArea], base[kArea], factors[kMostFactors * kArea];
  distances(p, lda, ldb, i, j, r2, e);
  for (int64_t q = 0; q < kArea; ++q) e[q] = g[q] * exp_of(-(gp_reach<kind>(r2[q]) + e[q]));
  for (int64_t q = 0; q < kArea; ++q) w[q] = p.scale * gp_slope<kind>(r2[q]) * e[q];
  for (int64_t q = 0; q < kArea; ++q) u[q] = base[q] = gp_shape<kind>(r2[q]) * e[q];
  for (int64_t k = 0; k < p.factors; ++k) {
    double* f = factors + k * kArea;
    factor_of(p, lda, ldb, i, j, k, f);
    for (int64_t q = 0; q < kArea; ++q) {
      w[q] *= f[q];
      u[q] *= f[q];
    }
  }
  for (int64_t k = 0; k < p.smooth; ++k) {
    const double* a = p.a + k * lda + i;
    const double* b = p.b + k * ldb + j;
    const Vec b0 = load(b), b1 = load(b + JB_LANES);
    Vec sum = load(sums + k * JB_LANES);
    for (int64_t r = 0; r < kHigh; ++r) {
      const Vec x = fill(a[r]), d0 = x - b0, d1 = x - b1;
      const Vec f0 = load(w + r * kWide) * d0, f1 = load(w + r * kWide + JB_LANES) * d1;
      sum = fused(f0, d0, fused(f1, d1, sum));
      if (rows != nullptr) {
        double* row = rows + (r * columns + k) * JB_LANES;
        store(row, load(row) + (f0 + f1));
      }
    }
    store(sums + k * JB_LANES, sum);
  }
  for (int64_t k = p.smooth; k < p.smooth + p.names; ++k) {
    const double* b = p.b + k * ldb + j;
    double* lanes = sums + k * JB_LANES;
    for (int64_t r = 0; r < kHigh; ++r) {
      const double x = p.a[k * lda + i + r];
      for (int64_t s = 0; s < 2; ++s) {
        const double* from = u + r * kWide + s * JB_LANES;
        const double* at = b + s * JB_LANES;
        for (int64_t c = 0; c < JB_LANES; ++c) lanes[c] += x != at[c] ? from[c] : 0.0;
      }
    }
  }
  double* to = sums + (p.smooth + p.names) * JB_LANES;
  for (int64_t k = 0; k < p.factors; ++k) {
    double by[4 * kArea];
    slopes_of(p, lda, ldb, i, j, k, by);
    for (int64_t q = 0; q < kArea; ++q) w[q] = base[q];
    for (int64_t o = 0; o < p.factors; ++o) {
      for (int64_t q = 0; o != k && q < kArea; ++q) w[q] *= factors[o * kArea + q];
    }
    for (int64_t s = 0; s < 4; ++s) {
      for (int64_t q = 0; q < kArea; ++q) by[s * kArea + q] *= w[q];
    }
    for (int64_t s = 0; s < kGpFormParams[p.forms[k]]; ++s, to += JB_LANES) {
      gather_tile(by + s * kArea, to);
    }
    for (int64_t r = 0; rows != nullptr && r < kHigh; ++r) {
      double* row = rows + (r * columns + p.smooth + p.names + k) * JB_LANES;
      const double* from = by + 3 * kArea + r * kWide;
      store(row, load(row) + (load(from) + load(from + JB_LANES)));
    }
  }
  gather_tile(u, to);
}

// Sums over the pairs of rows [i0, i1) and `cols` columns, weighted by g. scratch: (params + kHigh
// columns) vectors. sums: params numbers, added to; what of finish_theta they are the sums of:
// squared scaled differences times -d term / d r2, mismatches times term / scale, slopes of the
// factors times term / factor / scale, term / scale. gx: (i1 - i0, columns) gradient with respect
// to the first points as they lie, that of a fidelity over its term's scale; written, or null.
void contract(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, const double* g, int64_t ldg,
              double* scratch, double* sums, double* gx) {
  for (int64_t q = 0; q < (p.params + kHigh * p.columns) * JB_LANES; ++q) scratch[q] = 0.0;
  double* rows = scratch + p.params * JB_LANES;
  for (int64_t i = i0; i < i1; i += kHigh) {
    for (int64_t j = 0; j < cols; j += kWide) {
      double tile[kArea];
      for (int64_t r = 0; r < kHigh; ++r) {
        const double* from = g + (i - i0 + r) * ldg + j;
        store(tile + r * kWide, load(from));
        store(tile + r * kWide + JB_LANES, load(from + JB_LANES));
      }
      double* to = scratch;
      double* row = gx != nullptr ? rows : nullptr;
      for (int64_t q = 0; q < p.count; ++q) {
        const PairTerm& t = p.terms[q];
        const int64_t width = p.columns;
        switch (t.kind) {
          case kMatern12:
            contract_tile<kMatern12>(t, p.lda, p.ldb, i, j, tile, to, row, width);
            break;
          case kMatern32:
            contract_tile<kMatern32>(t, p.lda, p.ldb, i, j, tile, to, row, width);
            break;
          case kMatern52:
            contract_tile<kMatern52>(t, p.lda, p.ldb, i, j, tile, to, row, width);
            break;
          default:
            contract_tile<kRbf>(t, p.lda, p.ldb, i, j, tile, to, row, width);
        }
        to += (t.smooth + t.names + 1) * JB_LANES;
        for (int64_t k = 0; k < t.factors; ++k) to += kGpFormParams[t.forms[k]] * JB_LANES;
        if (row != nullptr) row += (t.smooth + t.names + t.factors) * JB_LANES;
      }
    }
    if (gx == nullptr) continue;
    for (int64_t r = 0; r < kHigh; ++r) {
      int64_t at = 0;
      for (int64_t q = 0; q < p.count; ++q) {
        const PairTerm& t = p.terms[q];
        for (int64_t k = 0; k < t.smooth + t.names + t.factors; ++k, ++at) {
          double* from = rows + (r * p.columns + at) * JB_LANES;
          gx[(i - i0 + r) * p.columns + at] = (k < t.smooth ? -2.0 : 1.0) * total(load(from));
          store(from, Vec{});
        }
      }
    }
  }
  for (int64_t k = 0; k < p.params; ++k) sums[k] += total(load(scratch + k * JB_LANES));
}

// C (m, n) += sign * A B; A(i, k) = a[i * ai + k * ak], B and C by rows.
void multiply(double* c, int64_t ldc, const double* a, int64_t ai, int64_t ak, const double* b,
              int64_t ldb, int64_t m, int64_t n, int64_t depth, double sign) {
  for (int64_t j = 0; j < n; j += kWide) {
    for (int64_t i = 0; i < m; i += kHigh) {
      Vec sum[kHigh][2] = {};
      const double* at = a + i * ai;
      for (int64_t k = 0; k < depth; ++k) {
        const Vec b0 = load(b + k * ldb + j), b1 = load(b + k * ldb + j + JB_LANES);
        for (int64_t r = 0; r < kHigh; ++r) {
          const Vec x = fill(at[r * ai + k * ak]);
          sum[r][0] = fused(x, b0, sum[r][0]);
          sum[r][1] = fused(x, b1, sum[r][1]);
        }
      }
      for (int64_t r = 0; r < kHigh; ++r) {
        double* to = c + (i + r) * ldc + j;
        store(to, load(to) + sign * sum[r][0]);
        store(to + JB_LANES, load(to + JB_LANES) + sign * sum[r][1]);
      }
    }
  }
}

// Cholesky factor of one diagonal block, and its inverse; the row of the first pivot that is not
// above its floor, -1 when there is none.
inline int64_t factor_block(double* k, int64_t ld, int64_t nb, const double* floors, double* inv) {
  double column[kBlock];
  for (int64_t j = 0; j < nb; ++j) {
    const double pivot = k[j * ld + j];
    if (!(pivot > floors[j])) return j;
    const double root = std::sqrt(pivot);
    k[j * ld + j] = root;
    for (int64_t i = j + 1; i < nb; ++i) column[i] = k[i * ld + j] /= root;
    for (int64_t i = j + 1; i < nb; ++i) {
      const double x = column[i];
      for (int64_t c = j + 1; c <= i; ++c) k[i * ld + c] = fused(-x, column[c], k[i * ld + c]);
    }
  }
  for (int64_t i = 0; i < nb; ++i) {
    double* row = inv + i * kBlock;
    for (int64_t c = 0; c < kBlock; ++c) row[c] = c == i ? 1.0 : 0.0;
    for (int64_t j = 0; j < i; ++j) {
      const double x = k[i * ld + j];
      const double* above = inv + j * kBlock;
      for (int64_t c = 0; c <= j; ++c) row[c] = fused(-x, above[c], row[c]);
    }
    for (int64_t c = 0; c <= i; ++c) row[c] /= k[i * ld + i];
  }
  return -1;
}

// K (n, n) lower triangle -> its Cholesky factor; inv: inverses of the diagonal blocks,
// (ceil(n / kBlock), kBlock, kBlock); work: n kBlock numbers.
int64_t factor(double* k, int64_t ld, int64_t n, const double* floors, double* inv, double* work) {
  for (int64_t j = 0; j < n; j += kBlock) {
    const int64_t nb = n - j < kBlock ? n - j : kBlock;
    double* block = inv + j * kBlock;
    for (int64_t c = 0; c < nb; ++c) {
      for (int64_t q = 0; q < j; ++q) work[q * kBlock + c] = k[(j + c) * ld + q];
    }
    multiply(k + j * ld + j, ld, k + j * ld, ld, 1, work, kBlock, n - j, nb, j, -1.0);
    const int64_t bad = factor_block(k + j * ld + j, ld, nb, floors + j, block);
    if (bad >= 0) return j + bad;
    double turned[kBlock * kBlock];
    for (int64_t r = 0; r < kBlock; ++r) {
      for (int64_t c = 0; c < kBlock; ++c) {
        turned[c * kBlock + r] = r < nb ? block[r * kBlock + c] : 0.0;
      }
    }
    const int64_t below = n - j - nb;
    double* panel = k + (j + nb) * ld + j;
    for (int64_t r = 0; r < below; ++r) {
      for (int64_t c = 0; c < nb; ++c) {
        work[r * kBlock + c] = panel[r * ld + c];
        panel[r * ld + c] = 0.0;
      }
    }
    multiply(panel, ld, work, kBlock, 1, turned, kBlock, below, nb, nb, 1.0);
  }
  return -1;
}

// w (n, n), zeros on entry: inverse of the factor l. work: n kBlock numbers.
void invert(const double* l, double* w, int64_t ld, int64_t n, const double* inv, double* work) {
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t nb = n - i < kBlock ? n - i : kBlock;
    for (int64_t j = 0; j < i; j += kBlock) {
      for (int64_t q = 0; q < kBlock * kBlock; ++q) work[q] = 0.0;
      multiply(work, kBlock, l + i * ld + j, ld, 1, w + j * ld + j, ld, nb, kBlock, i - j, 1.0);
      multiply(w + i * ld + j, ld, inv + i * kBlock, kBlock, 1, work, kBlock, nb, kBlock, nb, -1.0);
    }
    for (int64_t r = 0; r < nb; ++r) {
      for (int64_t c = 0; c < nb; ++c) w[(i + r) * ld + i + c] = inv[(i + r) * kBlock + c];
    }
  }
}

// k: the block lower triangle of w' w.
void gather(const double* w, double* k, int64_t ld, int64_t n) {
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t nb = n - i < kBlock ? n - i : kBlock;
    for (int64_t r = 0; r < nb; ++r) {
      for (int64_t c = 0; c < i + nb; ++c) k[(i + r) * ld + c] = 0.0;
    }
    multiply(k + i * ld, ld, w + i * ld + i, 1, ld, w + i * ld, ld, nb, i + nb, n - i, 1.0);
  }
}

// out = w x, and back = w' out, with w lower triangular.
void solve(const double* w, int64_t ld, int64_t n, const double* x, double* out, double* back) {
  for (int64_t i = 0; i < n; ++i) {
    Vec sum = {};
    for (int64_t j = 0; j <= i; j += JB_LANES) sum = fused(load(w + i * ld + j), load(x + j), sum);
    out[i] = total(sum);
    back[i] = 0.0;
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) back[j] = fused(w[i * ld + j], out[i], back[j]);
  }
}

constexpr GpLoops kLoops = {gram, contract, multiply, factor, invert, gather, solve};
