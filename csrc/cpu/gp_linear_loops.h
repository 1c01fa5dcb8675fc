// Dense linear algebra of a factorised covariance; see gp_vectors.h. Matrices lie by rows, their
// sizes are multiples of 8: no loop has a rest.

#if JB_LANES == 8
constexpr int64_t kHigh = 8;  // rows of C in registers; of vectors, kWide: 24 of 32 registers
#else
constexpr int64_t kHigh = 4;  // 12 of 16
#endif
constexpr int64_t kWide = 3;
constexpr int64_t kPanel = kWide * JB_LANES;

// C (kHigh, width vectors) = or += sign * A B over `depth`. b: packed. a: packed too, or by rows,
// `lda` apart.
template <int64_t width, bool packed>
void micro(double* c, int64_t ldc, const double* a, int64_t lda, const double* b, int64_t depth,
           double sign, bool add) {
  Vec sum[kHigh][width];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kHigh; ++r) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < width; ++v) sum[r][v] = Vec{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec at[width];
#pragma GCC unroll 3
    for (int64_t v = 0; v < width; ++v) at[v] = load(b + (k * width + v) * JB_LANES);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kHigh; ++r) {
      const Vec x = fill(packed ? a[k * kHigh + r] : a[r * lda + k]);
#pragma GCC unroll 3
      for (int64_t v = 0; v < width; ++v) sum[r][v] = fused(x, at[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kHigh; ++r) {
#pragma GCC unroll 3
    for (int64_t v = 0; v < width; ++v) {
      double* to = c + r * ldc + v * JB_LANES;
      store(to, add ? fused(fill(sign), sum[r][v], load(to)) : sign * sum[r][v]);
    }
  }
}

template <bool packed>
void micro_of(int64_t width, double* c, int64_t ldc, const double* a, int64_t lda, const double* b,
              int64_t depth, double sign, bool add) {
  if (width == 3) return micro<3, packed>(c, ldc, a, lda, b, depth, sign, add);
  if (width == 2) return micro<2, packed>(c, ldc, a, lda, b, depth, sign, add);
  micro<1, packed>(c, ldc, a, lda, b, depth, sign, add);
}

// `wide` columns of B from row k0 to k1: by rows, then by columns where B is turned.
inline void pack_b(const Product& p, int64_t j, int64_t wide, int64_t k0, int64_t k1, double* to) {
  if (!p.b_turned) {
    for (int64_t k = k0; k < k1; ++k, to += wide) {
      for (int64_t c = 0; c < wide; c += JB_LANES) store(to + c, load(p.b + k * p.ldb + j + c));
    }
    return;
  }
  for (int64_t c = 0; c < wide; c += JB_LANES) {
    for (int64_t k = k0; k < k1; k += JB_LANES) {
      turn(p.b + (j + c) * p.ldb + k, p.ldb, to + (k - k0) * wide + c, wide);
    }
  }
}

// kHigh rows of a turned A.
inline void pack_a(const Product& p, int64_t i, int64_t k0, int64_t k1, double* to) {
  for (int64_t k = k0; k < k1; ++k, to += kHigh) {
    for (int64_t r = 0; r < kHigh; ++r) to[r] = p.a[k * p.lda + i + r];
  }
}

// Where, along the depth, a tile of rows from i and `wide` columns from j has anything.
inline int64_t first_of(const Product& p, int64_t i, int64_t j) {
  return p.zeros == kBAbove ? j : p.zeros == kABelow ? i : 0;
}
inline int64_t last_of(const Product& p, int64_t i, int64_t j, int64_t wide) {
  const int64_t end = p.zeros == kBBelow ? j + wide : p.zeros == kAAbove ? i + kHigh : p.depth;
  return end < p.depth ? end : p.depth;
}

// Blocks of kDepth of the depth, all of B packed, and kTall rows of A, so that a panel of B stays
// in the first cache and those rows of A in the second.
void multiply(const Product& p, double* pack) {
  double* a_pack = pack + kDepth * (p.n + kPanel);
  for (int64_t k0 = 0; k0 < p.depth; k0 += kDepth) {
    const int64_t k1 = k0 + kDepth < p.depth ? k0 + kDepth : p.depth;
    for (int64_t j = 0; j < p.n; j += kPanel) {
      const int64_t wide = p.n - j < kPanel ? p.n - j : kPanel;
      const int64_t from = p.zeros == kBAbove && j > k0 ? j : k0;
      const int64_t to = p.zeros == kBBelow && j + wide < k1 ? j + wide : k1;
      if (from < to) pack_b(p, j, wide, from, to, pack + j * kDepth + (from - k0) * wide);
    }
    for (int64_t high = 0; high < p.m; high += kTall) {
      const int64_t end = high + kTall < p.m ? high + kTall : p.m;
      for (int64_t i = high; p.a_turned && i < end; i += kHigh) {
        const int64_t from = p.zeros == kABelow && i > k0 ? i : k0;
        if (from < k1) pack_a(p, i, from, k1, a_pack + (i - high) * kDepth + (from - k0) * kHigh);
      }
      for (int64_t j = 0; j < p.n; j += kPanel) {
        const int64_t wide = p.n - j < kPanel ? p.n - j : kPanel;
        for (int64_t i = high; i < end; i += kHigh) {
          if (p.lower && j >= i + kHigh) continue;
          const int64_t first = first_of(p, i, j), last = last_of(p, i, j, wide);
          const int64_t from = first > k0 ? first : k0, to = last < k1 ? last : k1;
          if (from >= to) continue;
          const bool add = p.add || from > first;
          const double* b = pack + j * kDepth + (from - k0) * wide;
          double* c = p.c + i * p.ldc + j;
          if (p.a_turned) {
            const double* a = a_pack + (i - high) * kDepth + (from - k0) * kHigh;
            micro_of<true>(wide / JB_LANES, c, p.ldc, a, 0, b, to - from, p.sign, add);
          } else {
            const double* a = p.a + i * p.lda + from;
            micro_of<false>(wide / JB_LANES, c, p.ldc, a, p.lda, b, to - from, p.sign, add);
          }
        }
      }
    }
  }
}

// kBase or fewer columns of the factorisation below, eight at a time: u holds the factor's
// transpose, v its inverse. Off its diagonal k is left as it was.
inline int64_t factor_block(double* k, double* w, int64_t ld, int64_t n, const double* floors) {
  alignas(64) double u[kBase][kBase], v[kBase][kBase];
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c <= i; ++c) u[c][i] = k[i * ld + c];
    for (int64_t c = 0; c < n; ++c) v[i][c] = c == i ? 1.0 : 0.0;
  }
  for (int64_t p = 0; p < n; p += 8) {
    for (int64_t j = p; j < p + 8; ++j) {
      const double pivot = u[j][j];
      if (!(pivot > floors[j])) return j;
      const double root = std::sqrt(pivot), over = 1.0 / root;
      k[j * ld + j] = root;
      for (int64_t c = p; c < n; c += JB_LANES) store(u[j] + c, over * load(u[j] + c));
      for (int64_t c = 0; c < p + 8; c += JB_LANES) store(v[j] + c, over * load(v[j] + c));
      for (int64_t i = j + 1; i < p + 8; ++i) {
        const Vec x = fill(-u[j][i]);
        for (int64_t c = p; c < n; c += JB_LANES) {
          store(u[i] + c, fused(x, load(u[j] + c), load(u[i] + c)));
        }
        for (int64_t c = 0; c < p + 8; c += JB_LANES) {
          store(v[i] + c, fused(x, load(v[j] + c), load(v[i] + c)));
        }
      }
    }
    for (int64_t i = p + 8; i < n; ++i) {
      Vec x[8];
      for (int64_t j = 0; j < 8; ++j) x[j] = fill(-u[p + j][i]);
      for (int64_t c = i / 8 * 8; c < n; c += JB_LANES) {
        Vec sum = load(u[i] + c);
        for (int64_t j = 0; j < 8; ++j) sum = fused(x[j], load(u[p + j] + c), sum);
        store(u[i] + c, sum);
      }
      for (int64_t c = 0; c < p + 8; c += JB_LANES) {
        Vec sum = load(v[i] + c);
        for (int64_t j = 0; j < 8; ++j) sum = fused(x[j], load(v[p + j] + c), sum);
        store(v[i] + c, sum);
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < n; c += 8) {
      for (int64_t q = c; q < c + 8; q += JB_LANES) store(w + i * ld + q, load(v[i] + q));
    }
  }
  return -1;
}

// k (n, n), its lower triangle, positive definite -> the diagonal of its Cholesky factor, the rest
// overwritten; w: the factor's inverse, its upper triangle zero on entry. Halves: with A11 = L11
// L11', L21 = A21 W11', A22 - L21 L21' = L22 L22', W21 = -W22 L21 W11. Returns the row of the first
// pivot that is not above its floor, or -1.
int64_t factor(double* k, double* w, int64_t ld, int64_t n, const double* floors, double* pack) {
  if (n <= kBase) return n > 0 ? factor_block(k, w, ld, n, floors) : -1;
  const int64_t half = (n / 2 + kBase - 1) / kBase * kBase, rest = n - half;
  int64_t bad = factor(k, w, ld, half, floors, pack);
  if (bad >= 0) return bad;
  double *k21 = k + half * ld, *w21 = w + half * ld, *k22 = k21 + half, *w22 = w21 + half;
  multiply({w21, ld, k21, ld, false, w, ld, true, rest, half, half, 1.0, false, false, kBBelow},
           pack);
  multiply({k22, ld, w21, ld, false, w21, ld, true, rest, rest, half, -1.0, true, true, kNone},
           pack);
  bad = factor(k22, w22, ld, rest, floors + half, pack);
  if (bad >= 0) return half + bad;
  multiply({k21, ld, w21, ld, false, w, ld, false, rest, half, half, 1.0, false, false, kBAbove},
           pack);
  multiply({w21, ld, w22, ld, false, k21, ld, false, rest, half, rest, -1.0, false, false, kAAbove},
           pack);
  return -1;
}

// k: the lower triangle of w' w, for a lower triangular w.
void gather(const double* w, double* k, int64_t ld, int64_t n, double* pack) {
  multiply({k, ld, w, ld, true, w, ld, false, n, n, n, 1.0, false, true, kABelow}, pack);
}

// out = w x, and back = w' out, with w lower triangular.
void solve(const double* w, int64_t ld, int64_t n, const double* x, double* out, double* back) {
  for (int64_t i = 0; i < n; ++i) back[i] = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double* row = w + i * ld;
    Vec sum = {};
    for (int64_t j = 0; j <= i; j += JB_LANES) sum = fused(load(row + j), load(x + j), sum);
    out[i] = total(sum);
    const Vec z = fill(out[i]);
    for (int64_t j = 0; j <= i; j += JB_LANES)
      store(back + j, fused(load(row + j), z, load(back + j)));
  }
}

// k, an inverse covariance (n of N rows), to d likelihood / d covariance = (alpha alpha' - k) / 2:
// its lower triangle, off the diagonal twice over, or with `whole` all of it; zeros elsewhere.
void adjoint(double* k, int64_t ld, int64_t n, int64_t N, const double* alpha, bool whole) {
  const double half = whole ? 0.5 : 1.0;
  for (int64_t i = 0; i < N; ++i) {
    double* row = k + i * ld;
    const int64_t most = i < n ? i : -1;
    const double at = i < n ? 0.5 * (alpha[i] * alpha[i] - row[i]) : 0.0;
    const Vec x = fill(alpha[i]);
    for (int64_t j = 0; j < most; j += JB_LANES) {
      store(row + j, half * (x * load(alpha + j) - load(row + j)));
    }
    for (int64_t j = most + 1; j < N && (whole || j < (i / 8 + 1) * 8); ++j) row[j] = 0.0;
    if (i < n) row[i] = at;
  }
  for (int64_t i = 0; whole && i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) k[j * ld + i] = k[i * ld + j];
  }
}
