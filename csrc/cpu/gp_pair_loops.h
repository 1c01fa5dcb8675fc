// Pairs of points, by tiles of kRows rows and one vector of columns; see gp_vectors.h.

constexpr int64_t kArea = kRows * JB_LANES;

// Squared distances and Hamming distances of a tile.
inline void distances(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, double* r2,
                      double* far) {
  Vec sum[kRows] = {};
  for (int64_t k = 0; k < p.smooth; ++k) {
    const double* a = p.a + k * lda + i;
    const Vec b = load(p.b + k * ldb + j);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vec d = fill(a[r]) - b;
      sum[r] = fused(d, d, sum[r]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) store(r2 + r * JB_LANES, sum[r]);
  for (int64_t q = 0; q < kArea; ++q) {
    r2[q] = r2[q] < kFarAway ? r2[q] : kFarAway;
    far[q] = 0.0;
  }
  for (int64_t k = 0; k < p.names; ++k) {
    const double w = p.weights[k];
    const double* a = p.a + (p.smooth + k) * lda + i;
    const double* b = p.b + (p.smooth + k) * ldb + j;
    for (int64_t r = 0; r < kRows; ++r) {
      const double x = a[r];
      for (int64_t c = 0; c < JB_LANES; ++c) far[r * JB_LANES + c] += x != b[c] ? w : 0.0;
    }
  }
}

// The two sides' fidelities of factor k over a tile.
inline void fidelities(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, int64_t k,
                       double* t, double* s) {
  const double* a = p.a + (p.smooth + p.names + k) * lda + i;
  const double* b = p.b + (p.smooth + p.names + k) * ldb + j;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < JB_LANES; ++c) {
      t[r * JB_LANES + c] = a[r];
      s[r * JB_LANES + c] = b[c];
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

// What one term is over a tile: without its scale; where wanted, its slope -d/d r2; and where it
// has factors, without them and its scale.
struct TermTile {
  double value[kArea], slope[kArea], base[kArea];
};

template <int64_t kind>
void evaluate(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j, bool slopes,
              TermTile& out) {
  double r2[kArea], a[kArea], e[kArea];
  distances(p, lda, ldb, i, j, r2, e);
  for (int64_t q = 0; q < kArea; ++q) {
    a[q] = gp_reach<kind>(r2[q]);
    e[q] = exp_of(-(a[q] + e[q]));
  }
  for (int64_t q = 0; q < kArea; ++q) out.value[q] = gp_shape<kind>(r2[q], a[q]) * e[q];
  if (slopes) {
    const double scale = p.scale;
    for (int64_t q = 0; q < kArea; ++q) {
      out.slope[q] = scale * (gp_slope<kind>(r2[q], a[q]) * e[q]);
    }
  }
  if (p.factors == 0) return;
  for (int64_t q = 0; q < kArea; ++q) out.base[q] = out.value[q];
  for (int64_t k = 0; k < p.factors; ++k) {
    factor_of(p, lda, ldb, i, j, k, e);
    for (int64_t q = 0; q < kArea; ++q) out.value[q] *= e[q];
    for (int64_t q = 0; slopes && q < kArea; ++q) out.slope[q] *= e[q];
  }
}

inline void evaluate_term(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j,
                          bool slopes, TermTile& out) {
  switch (p.kind) {
    case kMatern12:
      return evaluate<kMatern12>(p, lda, ldb, i, j, slopes, out);
    case kMatern32:
      return evaluate<kMatern32>(p, lda, ldb, i, j, slopes, out);
    case kMatern52:
      return evaluate<kMatern52>(p, lda, ldb, i, j, slopes, out);
    default:
      return evaluate<kRbf>(p, lda, ldb, i, j, slopes, out);
  }
}

// Where a tile of term q is kept.
inline double* kept(const Kept& keep, int64_t i, int64_t j, int64_t q) {
  return keep.at + ((i / kRows) * keep.stride + j * kRows + q * keep.plane) * 3;
}

// Rows [i0, i1) of the covariance, `cols` columns, to `out`; what contract needs again to `keep`,
// unless it is nowhere.
void gram(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, double* out, int64_t ldo,
          const Kept& keep) {
  TermTile tile;
  for (int64_t i = i0; i < i1; i += kRows) {
    for (int64_t j = 0; j < cols; j += JB_LANES) {
      double sum[kArea];
      for (int64_t q = 0; q < p.count; ++q) {
        TermTile* to = &tile;
        if (keep.at != nullptr) to = reinterpret_cast<TermTile*>(kept(keep, i, j, q));
        const double scale = p.terms[q].scale;
        evaluate_term(p.terms[q], p.lda, p.ldb, i, j, keep.at != nullptr, *to);
        const double* value = to->value;
        for (int64_t c = 0; c < kArea; ++c) {
          sum[c] = q > 0 ? fused(scale, value[c], sum[c]) : scale * value[c];
        }
      }
      for (int64_t r = 0; r < kRows; ++r) {
        store(out + (i - i0 + r) * ldo + j, load(sum + r * JB_LANES));
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
// rows: kRows vectors, `columns` of them apart, for each of its columns, or null.
inline void contract_tile(const PairTerm& p, int64_t lda, int64_t ldb, int64_t i, int64_t j,
                          const double* g, const TermTile& tile, double* sums, double* rows,
                          int64_t columns) {
  double u[kArea];
  Vec w[kRows];
  for (int64_t q = 0; q < kArea; ++q) u[q] = g[q] * tile.value[q];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
    w[r] = load(g + r * JB_LANES) * load(tile.slope + r * JB_LANES);
  }
  for (int64_t k = 0; k < p.smooth; ++k) {
    const double* a = p.a + k * lda + i;
    const Vec b = load(p.b + k * ldb + j);
    Vec even = load(sums + k * JB_LANES), odd = {};
#pragma GCC unroll 4
    for (int64_t r = 0; r < kRows; r += 2) {
      const Vec d0 = fill(a[r]) - b, d1 = fill(a[r + 1]) - b;
      const Vec f0 = w[r] * d0, f1 = w[r + 1] * d1;
      even = fused(f0, d0, even);
      odd = fused(f1, d1, odd);
      if (rows != nullptr) {
        double *r0 = rows + (r * columns + k) * JB_LANES, *r1 = r0 + columns * JB_LANES;
        store(r0, load(r0) + f0);
        store(r1, load(r1) + f1);
      }
    }
    store(sums + k * JB_LANES, even + odd);
  }
  for (int64_t k = p.smooth; k < p.smooth + p.names; ++k) {
    const double* b = p.b + k * ldb + j;
    double* lanes = sums + k * JB_LANES;
    for (int64_t r = 0; r < kRows; ++r) {
      const double x = p.a[k * lda + i + r];
      for (int64_t c = 0; c < JB_LANES; ++c) lanes[c] += x != b[c] ? u[r * JB_LANES + c] : 0.0;
    }
  }
  double* to = sums + (p.smooth + p.names) * JB_LANES;
  for (int64_t k = 0; k < p.factors; ++k) {
    double by[4 * kArea], others[kArea], f[kArea];
    slopes_of(p, lda, ldb, i, j, k, by);
    for (int64_t q = 0; q < kArea; ++q) others[q] = g[q] * tile.base[q];
    for (int64_t o = 0; o < p.factors; ++o) {
      if (o == k) continue;
      factor_of(p, lda, ldb, i, j, o, f);
      for (int64_t q = 0; q < kArea; ++q) others[q] *= f[q];
    }
    for (int64_t s = 0; s < 4; ++s) {
      for (int64_t q = 0; q < kArea; ++q) by[s * kArea + q] *= others[q];
    }
    for (int64_t s = 0; s < kGpFormParams[p.forms[k]]; ++s, to += JB_LANES) {
      gather_tile(by + s * kArea, to);
    }
    for (int64_t r = 0; rows != nullptr && r < kRows; ++r) {
      double* row = rows + (r * columns + p.smooth + p.names + k) * JB_LANES;
      store(row, load(row) + load(by + 3 * kArea + r * JB_LANES));
    }
  }
  gather_tile(u, to);
}

// Lanes of the rows' vectors, summed, to gx, and zeros in their place.
inline void finish_tile(const Pairs& p, double* rows, double* gx) {
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t q = 0; q < p.count; ++q) {
      const PairTerm& t = p.terms[q];
      for (int64_t k = 0; k < t.smooth + t.names + t.factors; ++k, rows += JB_LANES) {
        *gx++ = (k < t.smooth ? -2.0 : 1.0) * total(load(rows));
        store(rows, Vec{});
      }
    }
  }
}

// Sums over the pairs of rows [i0, i1) and `cols` columns, weighted by g. scratch: (params + kRows
// columns) vectors. sums: params numbers, added to; what of finish_theta they are the sums of:
// squared scaled differences times -d term / d r2, mismatches times term / scale, slopes of the
// factors times term / factor / scale, term / scale. gx: (i1 - i0, columns) gradient with respect
// to the first points as they lie, that of a fidelity over its term's scale; written, or null.
// keep: what gram kept of these pairs, or nowhere.
void contract(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, const double* g, int64_t ldg,
              double* scratch, double* sums, double* gx, const Kept& keep) {
  for (int64_t q = 0; q < (p.params + kRows * p.columns) * JB_LANES; ++q) scratch[q] = 0.0;
  double* rows = scratch + p.params * JB_LANES;
  TermTile tile;
  for (int64_t i = i0; i < i1; i += kRows) {
    for (int64_t j = 0; j < cols; j += JB_LANES) {
      double weights[kArea];
      for (int64_t r = 0; r < kRows; ++r) {
        store(weights + r * JB_LANES, load(g + (i - i0 + r) * ldg + j));
      }
      double* to = scratch;
      double* row = gx != nullptr ? rows : nullptr;
      for (int64_t q = 0; q < p.count; ++q) {
        const PairTerm& t = p.terms[q];
        const TermTile* from = &tile;
        if (keep.at != nullptr) {
          from = reinterpret_cast<const TermTile*>(kept(keep, i, j, q));
        } else {
          evaluate_term(t, p.lda, p.ldb, i, j, true, tile);
        }
        contract_tile(t, p.lda, p.ldb, i, j, weights, *from, to, row, p.columns);
        to += (t.smooth + t.names + 1) * JB_LANES;
        for (int64_t k = 0; k < t.factors; ++k) to += kGpFormParams[t.forms[k]] * JB_LANES;
        if (row != nullptr) row += (t.smooth + t.names + t.factors) * JB_LANES;
      }
    }
    if (gx != nullptr) finish_tile(p, rows, gx + (i - i0) * p.columns);
  }
  for (int64_t k = 0; k < p.params; ++k) sums[k] += total(load(scratch + k * JB_LANES));
}
