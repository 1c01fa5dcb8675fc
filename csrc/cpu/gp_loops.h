// The loops of csrc/cpu/gp.cpp. No include guard and no includes: the file is included once for
// each instruction set, inside a namespace of its own, with JB_LANES doubles to a vector. All
// buffers are padded by the caller: rows to multiples of 4, columns to multiples of 16.

typedef double Vec __attribute__((vector_size(8 * JB_LANES)));
typedef double VecAt __attribute__((vector_size(8 * JB_LANES), aligned(8), may_alias));

inline Vec load(const double* p) { return *reinterpret_cast<const VecAt*>(p); }
inline void store(double* p, Vec v) { *reinterpret_cast<VecAt*>(p) = v; }
inline Vec fill(double x) { return x - Vec{}; }

constexpr int64_t kHigh = 4;
constexpr int64_t kWide = 2 * JB_LANES;
constexpr int64_t kArea = kHigh * kWide;

inline double total(Vec v) {
  double sum = 0.0;
  for (int lane = 0; lane < JB_LANES; ++lane) sum += v[lane];
  return sum;
}

// Squared distances and Hamming distances of a tile of kHigh x kWide pairs.
inline void distances(const Pairs& p, int64_t i, int64_t j, double* r2, double* far) {
  Vec sum[kHigh][2] = {};
  for (int64_t k = 0; k < p.smooth; ++k) {
    const double* a = p.a + k * p.lda + i;
    const double* b = p.b + k * p.ldb + j;
    const Vec b0 = load(b), b1 = load(b + JB_LANES);
    for (int64_t r = 0; r < kHigh; ++r) {
      const Vec x = fill(a[r]), d0 = x - b0, d1 = x - b1;
      sum[r][0] += d0 * d0;
      sum[r][1] += d1 * d1;
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
  for (int64_t k = p.smooth; k < p.smooth + p.names; ++k) {
    const double w = p.weights[k - p.smooth];
    const double* b = p.b + k * p.ldb + j;
    for (int64_t r = 0; r < kHigh; ++r) {
      const double x = p.a[k * p.lda + i + r];
      for (int64_t c = 0; c < kWide; ++c) far[r * kWide + c] += x != b[c] ? w : 0.0;
    }
  }
}

template <int64_t kind>
void gram_of(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, double* out, int64_t ldo) {
  double r2[kArea], far[kArea];
  for (int64_t i = i0; i < i1; i += kHigh) {
    for (int64_t j = 0; j < cols; j += kWide) {
      distances(p, i, j, r2, far);
      for (int64_t q = 0; q < kArea; ++q) far[q] = exp_neg(-(gp_reach<kind>(r2[q]) + far[q]));
      for (int64_t q = 0; q < kArea; ++q) r2[q] = p.scale * (gp_shape<kind>(r2[q]) * far[q]);
      for (int64_t r = 0; r < kHigh; ++r) {
        double* o = out + (i - i0 + r) * ldo + j;
        store(o, load(r2 + r * kWide));
        store(o + JB_LANES, load(r2 + r * kWide + JB_LANES));
      }
    }
  }
}

// scratch: (5 smooth + names + 1) vectors. sums: smooth, names, 1 numbers, added to.
// gx: (i1 - i0, smooth) gradient with respect to scaled rows, written, or null.
template <int64_t kind>
void contract_of(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, const double* g,
                 int64_t ldg, double* scratch, double* sums, double* gx) {
  const int64_t count = p.smooth + p.names + 1;
  for (int64_t q = 0; q < (count + kHigh * p.smooth) * JB_LANES; ++q) scratch[q] = 0.0;
  double* rows = scratch + count * JB_LANES;
  double r2[kArea], e[kArea], w[kArea], u[kArea];
  for (int64_t i = i0; i < i1; i += kHigh) {
    for (int64_t j = 0; j < cols; j += kWide) {
      distances(p, i, j, r2, e);
      for (int64_t r = 0; r < kHigh; ++r) {
        const double* from = g + (i - i0 + r) * ldg + j;
        for (int64_t c = 0; c < kWide; ++c) u[r * kWide + c] = from[c];
      }
      for (int64_t q = 0; q < kArea; ++q) e[q] = exp_neg(-(gp_reach<kind>(r2[q]) + e[q]));
      for (int64_t q = 0; q < kArea; ++q) e[q] *= u[q];
      for (int64_t q = 0; q < kArea; ++q) w[q] = p.scale * gp_slope<kind>(r2[q]) * e[q];
      for (int64_t q = 0; q < kArea; ++q) u[q] = gp_shape<kind>(r2[q]) * e[q];
      Vec ws[kHigh][2];
      Vec all = load(scratch + (count - 1) * JB_LANES);
      for (int64_t r = 0; r < kHigh; ++r) {
        for (int64_t s = 0; s < 2; ++s) {
          ws[r][s] = load(w + r * kWide + s * JB_LANES);
          all += load(u + r * kWide + s * JB_LANES);
        }
      }
      store(scratch + (count - 1) * JB_LANES, all);
      for (int64_t k = 0; k < p.smooth; ++k) {
        const double* a = p.a + k * p.lda + i;
        const double* b = p.b + k * p.ldb + j;
        const Vec b0 = load(b), b1 = load(b + JB_LANES);
        Vec sum = load(scratch + k * JB_LANES);
        for (int64_t r = 0; r < kHigh; ++r) {
          const Vec x = fill(a[r]), d0 = x - b0, d1 = x - b1;
          const Vec f0 = ws[r][0] * d0, f1 = ws[r][1] * d1;
          sum += f0 * d0 + f1 * d1;
          if (gx != nullptr) {
            double* row = rows + (r * p.smooth + k) * JB_LANES;
            store(row, load(row) + (f0 + f1));
          }
        }
        store(scratch + k * JB_LANES, sum);
      }
      for (int64_t k = p.smooth; k < p.smooth + p.names; ++k) {
        const double* b = p.b + k * p.ldb + j;
        double* lanes = scratch + k * JB_LANES;
        for (int64_t r = 0; r < kHigh; ++r) {
          const double x = p.a[k * p.lda + i + r];
          for (int64_t s = 0; s < 2; ++s) {
            const double* from = u + r * kWide + s * JB_LANES;
            const double* at = b + s * JB_LANES;
            for (int64_t c = 0; c < JB_LANES; ++c) lanes[c] += x != at[c] ? from[c] : 0.0;
          }
        }
      }
    }
    if (gx != nullptr) {
      for (int64_t q = 0; q < kHigh * p.smooth; ++q) {
        gx[(i - i0) * p.smooth + q] = -2.0 * total(load(rows + q * JB_LANES));
        store(rows + q * JB_LANES, Vec{});
      }
    }
  }
  for (int64_t k = 0; k < count; ++k) sums[k] += total(load(scratch + k * JB_LANES));
}

void gram(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, double* out, int64_t ldo) {
  switch (p.kind) {
    case kMatern12: return gram_of<kMatern12>(p, i0, i1, cols, out, ldo);
    case kMatern32: return gram_of<kMatern32>(p, i0, i1, cols, out, ldo);
    case kMatern52: return gram_of<kMatern52>(p, i0, i1, cols, out, ldo);
    default: return gram_of<kRbf>(p, i0, i1, cols, out, ldo);
  }
}

void contract(const Pairs& p, int64_t i0, int64_t i1, int64_t cols, const double* g, int64_t ldg,
              double* scratch, double* sums, double* gx) {
  switch (p.kind) {
    case kMatern12: return contract_of<kMatern12>(p, i0, i1, cols, g, ldg, scratch, sums, gx);
    case kMatern32: return contract_of<kMatern32>(p, i0, i1, cols, g, ldg, scratch, sums, gx);
    case kMatern52: return contract_of<kMatern52>(p, i0, i1, cols, g, ldg, scratch, sums, gx);
    default: return contract_of<kRbf>(p, i0, i1, cols, g, ldg, scratch, sums, gx);
  }
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
          sum[r][0] += x * b0;
          sum[r][1] += x * b1;
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
      for (int64_t c = j + 1; c <= i; ++c) k[i * ld + c] -= x * column[c];
    }
  }
  for (int64_t i = 0; i < nb; ++i) {
    double* row = inv + i * kBlock;
    for (int64_t c = 0; c < kBlock; ++c) row[c] = c == i ? 1.0 : 0.0;
    for (int64_t j = 0; j < i; ++j) {
      const double x = k[i * ld + j];
      const double* above = inv + j * kBlock;
      for (int64_t c = 0; c <= j; ++c) row[c] -= x * above[c];
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
    for (int64_t j = 0; j <= i; j += JB_LANES) sum += load(w + i * ld + j) * load(x + j);
    out[i] = total(sum);
    back[i] = 0.0;
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) back[j] += w[i * ld + j] * out[i];
  }
}

constexpr GpLoops kLoops = {gram, contract, multiply, factor, invert, gather, solve};
