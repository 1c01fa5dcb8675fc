#pragma once

#include "../core/gp_plan.h"
#include "../core/team.h"

// A symmetric positive definite matrix in tiles of 32 x 32: Cholesky factor L, its inverse W and
// the matrix's inverse W'W, all in the one square: L below the diagonal tiles, W turned above them,
// the inverse at last below and on them. Rows from n to N, a multiple of 32, are those of an
// identity, so that no tile has an edge. Each function is one tile's work, by one team.

namespace jobs_bench {

constexpr int64_t kTile = 32;
constexpr int64_t kPitch = kTile + 1;  // of a tile in scratch: rows fall on different banks
constexpr int64_t kTileRoom = kTile * kPitch;
constexpr int64_t kScratch = 4 * kTileRoom;  // doubles of fast memory that a team needs

struct GpSquare {
  double* at;
  int64_t N, ld;
  double* inverses;  // of the diagonal tiles of L, (N / 32, 32, 32), zeros above the diagonal
  double* pivots;    // (N), squares of L's diagonal

  JB_HOST_DEVICE int64_t tiles() const { return N / kTile; }
  JB_HOST_DEVICE double& operator()(int64_t i, int64_t j) const { return at[i * ld + j]; }

  // W, at or below the diagonal tiles.
  JB_HOST_DEVICE double inverse(int64_t i, int64_t j) const {
    const int64_t p = j / kTile;
    if (i / kTile > p) return at[j * ld + i];
    return inverses[p * kTile * kTile + (i % kTile) * kTile + j % kTile];
  }
};

// A team's fast memory: two operands, what they add up to, and a diagonal tile's inverse.
struct TileScratch {
  double* at;

  JB_HOST_DEVICE double* tile(int64_t q) const { return at + q * kTileRoom; }
  JB_HOST_DEVICE double* sum() const { return tile(2); }
  JB_HOST_DEVICE double* inverse() const { return tile(3); }
};

// Said to the compiler, which cannot see it in a function that is called.
JB_BODY void in_fast_memory([[maybe_unused]] const void* p) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isShared(p));
#endif
}

// scratch.sum() = A B' over `depth`, a multiple of 32. a(r, k) and b(s, k) read the operands, k
// being what lies side by side.
template <class Team, class A, class B>
JB_BODY void multiply_tiles(const Team& team, const TileScratch& scratch, int64_t depth, const A& a,
                            const B& b) {
  double *left = scratch.tile(0), *right = scratch.tile(1), *sum = scratch.sum();
  in_fast_memory(scratch.at);
  team.each(kTile * kTile, [&](int64_t q) { sum[q / kTile * kPitch + q % kTile] = 0.0; });
  for (int64_t from = 0; from < depth; from += kTile) {
    team.each(kTile * kTile, [&](int64_t q) {
      const int64_t r = q / kTile, k = q % kTile;
      left[r * kPitch + k] = a(r, from + k);
      right[r * kPitch + k] = b(r, from + k);
    });
    team.each(kTile * kTile / 4, [&](int64_t q) {
      const int64_t r = q / 16, s = q % 16;  // and 16 further on
      double c00 = sum[r * kPitch + s], c01 = sum[r * kPitch + s + 16];
      double c10 = sum[(r + 16) * kPitch + s], c11 = sum[(r + 16) * kPitch + s + 16];
      for (int64_t k = 0; k < kTile; ++k) {
        const double a0 = left[r * kPitch + k], a1 = left[(r + 16) * kPitch + k];
        const double b0 = right[s * kPitch + k], b1 = right[(s + 16) * kPitch + k];
        c00 = fused(a0, b0, c00);
        c01 = fused(a0, b1, c01);
        c10 = fused(a1, b0, c10);
        c11 = fused(a1, b1, c11);
      }
      sum[r * kPitch + s] = c00;
      sum[r * kPitch + s + 16] = c01;
      sum[(r + 16) * kPitch + s] = c10;
      sum[(r + 16) * kPitch + s + 16] = c11;
    });
  }
}

// What is left of tile (t, p) when the columns before p are taken off, to scratch.sum().
template <class Team>
JB_BODY void reduce_tile(const Team& team, const TileScratch& scratch, const GpSquare& s, int64_t t,
                         int64_t p) {
  const int64_t i = t * kTile, j = p * kTile;
  multiply_tiles(
      team, scratch, j, [&](int64_t r, int64_t k) { return s(i + r, k); },
      [&](int64_t c, int64_t k) { return s(j + c, k); });
  double* sum = scratch.sum();
  team.each(kTile * kTile, [&](int64_t q) {
    double& to = sum[q / kTile * kPitch + q % kTile];
    to = s(i + q / kTile, j + q % kTile) - to;
  });
}

// Factor of the reduced diagonal tile p, its inverse in scratch.inverse(). A pivot at or below
// n eps times its diagonal entry counts as none: returns its row through `bad`, a place in fast
// memory that is -1 else. Pivots go to `pivots`, 32 numbers in fast memory.
template <class Team>
JB_PIECE void factor_tile(const Team& team, const TileScratch& scratch, const GpSquare& s,
                          int64_t p, int64_t n) {
  reduce_tile(team, scratch, s, p, p);
  double *l = scratch.sum(), *w = scratch.inverse(), *pivots = scratch.tile(0);
  double* bad = pivots + kTile;
  team.each(1, [&](int64_t) { *bad = -1.0; });
  for (int64_t j = 0; j < kTile; ++j) {
    team.each(kTile - j, [&](int64_t q) {  // column j of L, times its root
      const int64_t i = j + q;
      double sum = l[i * kPitch + j];
      for (int64_t k = 0; k < j; ++k) sum = fused(-l[i * kPitch + k], l[j * kPitch + k], sum);
      w[q] = sum;
    });
    team.each(kTile - j, [&](int64_t q) {
      using std::sqrt;
      const double eps = 2.220446049250313e-16, pivot = w[0];
      const int64_t at = p * kTile + j;
      const bool fine = pivot > static_cast<double>(n) * eps * s(at, at);
      l[(j + q) * kPitch + j] = fine ? w[q] / sqrt(pivot) : 0.0;
      if (q > 0) return;
      pivots[j] = fine ? pivot : 1.0;
      if (fine) return;
      l[j * kPitch + j] = 1.0;
      if (*bad < 0.0) *bad = static_cast<double>(at);
    });
  }
  team.each(kTile, [&](int64_t c) {  // column c of the inverse
    for (int64_t i = 0; i < kTile; ++i) {
      double sum = i == c ? 1.0 : 0.0;
      for (int64_t k = c; k < i; ++k) sum = fused(-l[i * kPitch + k], w[k * kPitch + c], sum);
      w[i * kPitch + c] = i < c ? 0.0 : sum / l[i * kPitch + i];
    }
  });
}

// Keeps what factor_tile found.
template <class Team>
JB_BODY void keep_tile(const Team& team, const TileScratch& scratch, const GpSquare& s, int64_t p) {
  team.each(kTile * kTile, [&](int64_t q) {
    s.inverses[p * kTile * kTile + q] = scratch.inverse()[q / kTile * kPitch + q % kTile];
    if (q < kTile) s.pivots[p * kTile + q] = scratch.tile(0)[q];
  });
}

// Tile (t, p) of L, t > p, after factor_tile of p.
template <class Team>
JB_PIECE void panel_tile(const Team& team, const TileScratch& scratch, const GpSquare& s, int64_t t,
                         int64_t p) {
  reduce_tile(team, scratch, s, t, p);
  const double *left = scratch.sum(), *w = scratch.inverse();
  team.each(kTile * kTile, [&](int64_t q) {
    const int64_t r = q / kTile, c = q % kTile;
    double sum = 0.0;
    for (int64_t k = 0; k <= c; ++k) sum = fused(left[r * kPitch + k], w[c * kPitch + k], sum);
    s(t * kTile + r, p * kTile + c) = sum;
  });
}

// Column of tiles p of W, from the factor.
template <class Team>
JB_PIECE void invert_column(const Team& team, const TileScratch& scratch, const GpSquare& s,
                            int64_t p) {
  for (int64_t t = p + 1; t < s.tiles(); ++t) {
    const int64_t i = t * kTile, j = p * kTile;
    multiply_tiles(
        team, scratch, i - j, [&](int64_t r, int64_t k) { return s(i + r, j + k); },
        [&](int64_t c, int64_t k) { return s.inverse(j + k, j + c); });
    const double *sum = scratch.sum(), *w = s.inverses + t * kTile * kTile;
    team.each(kTile * kTile, [&](int64_t q) {
      const int64_t c = q / kTile, r = q % kTile;
      double out = 0.0;
      for (int64_t k = 0; k <= r; ++k) out = fused(-w[r * kTile + k], sum[k * kPitch + c], out);
      s(j + c, i + r) = out;
    });
  }
}

// Tile (t, p), t >= p, of the inverse W'W.
template <class Team>
JB_PIECE void gather_tile(const Team& team, const TileScratch& scratch, const GpSquare& s,
                          int64_t t, int64_t p) {
  const int64_t i = t * kTile, j = p * kTile;
  multiply_tiles(
      team, scratch, s.N - i, [&](int64_t r, int64_t k) { return s.inverse(i + k, i + r); },
      [&](int64_t c, int64_t k) { return s.inverse(i + k, j + c); });
  team.each(kTile * kTile, [&](int64_t q) {
    s(i + q / kTile, j + q % kTile) = scratch.sum()[q / kTile * kPitch + q % kTile];
  });
}

}  // namespace jobs_bench
