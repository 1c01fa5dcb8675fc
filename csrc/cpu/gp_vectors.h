// Vectors of JB_LANES doubles. No include guard and no includes: this file, gp_pair_loops.h and
// gp_linear_loops.h are included once for each instruction set, inside a namespace of its own.

typedef double Vec __attribute__((vector_size(8 * JB_LANES)));
typedef double VecAt __attribute__((vector_size(8 * JB_LANES), aligned(8), may_alias));

inline Vec load(const double* p) { return *reinterpret_cast<const VecAt*>(p); }
inline void store(double* p, Vec v) { *reinterpret_cast<VecAt*>(p) = v; }
inline Vec fill(double x) { return x - Vec{}; }

using jobs_bench::fused;
inline Vec fused(Vec a, Vec b, Vec c) { return JB_FUSED(a, b, c); }

inline double total(Vec v) {
  double sum = 0.0;
  for (int lane = 0; lane < JB_LANES; ++lane) sum += v[lane];
  return sum;
}

// A square of JB_LANES rows and columns, turned.
inline void turn(const double* from, int64_t ldf, double* to, int64_t ldt) {
#if JB_LANES > 2
  typedef int64_t Mask __attribute__((vector_size(8 * JB_LANES)));
  Vec row[JB_LANES];
#pragma GCC unroll 8
  for (int64_t r = 0; r < JB_LANES; ++r) row[r] = load(from + r * ldf);
#pragma GCC unroll 3
  for (int64_t step = 1; step < JB_LANES; step *= 2) {
    Mask low, high;  // of two rows: 0 to JB_LANES - 1 the first's, from there on the second's
#pragma GCC unroll 8
    for (int64_t c = 0; c < JB_LANES; ++c) {
      low[c] = (c & step) ? c - step + JB_LANES : c;
      high[c] = (c & step) ? c + JB_LANES : c + step;
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < JB_LANES; ++r) {
      if (r & step) continue;
      const Vec a = row[r], b = row[r + step];
      row[r] = __builtin_shuffle(a, b, low);
      row[r + step] = __builtin_shuffle(a, b, high);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < JB_LANES; ++r) store(to + r * ldt, row[r]);
#else
  for (int64_t r = 0; r < JB_LANES; ++r) {
    for (int64_t c = 0; c < JB_LANES; ++c) to[c * ldt + r] = from[r * ldf + c];
  }
#endif
}
