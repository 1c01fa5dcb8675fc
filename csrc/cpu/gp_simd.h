#pragma once

#include <cstdint>

namespace jobs_bench {

// One term over two sets of points. The points lie by columns, `Pairs::lda` and `ldb` numbers
// apart: first the smooth ones, divided by their lengthscales, then the named ones, then the
// fidelities. Padding holds zeros.
struct PairTerm {
  int64_t kind, smooth, names, factors;
  const double *a, *b;
  const double* weights;   // of the named columns
  const int64_t* forms;    // of the factors
  const double* settings;  // of the factors, kMostFormParams each
  double scale;
};

struct Pairs {
  const PairTerm* terms;
  int64_t count;
  int64_t lda, ldb;
  int64_t params, columns;  // of all terms together
};

// Three numbers of each term and pair, from one walk over the pairs for the next: by terms, `plane`
// pairs each, by kRows rows, `stride` pairs each. Nowhere where `at` is null.
struct Kept {
  double* at;
  int64_t plane, stride;
};

// C (m, n) = or, with add, += sign * A B, of C with `lower` its lower triangle and whatever beside;
// A by rows (m, depth) or turned (depth, m), B (depth, n) or turned (n, depth). Entries of a
// triangle may be known to be zero.
enum Zeros { kNone, kAAbove, kABelow, kBAbove, kBBelow };
struct Product {
  double* c;
  int64_t ldc;
  const double* a;
  int64_t lda;
  bool a_turned;
  const double* b;
  int64_t ldb;
  bool b_turned;
  int64_t m, n, depth;
  double sign;
  bool add, lower;
  Zeros zeros;  // kABelow: of A turned back, A(i, k) is zero where k < i
};

constexpr int64_t kRows = 8;   // of a tile: all row counts and leading dimensions are multiples
constexpr int64_t kBase = 32;  // columns that are factorised without halving
constexpr int64_t kDepth = 128, kTall = 192;  // blocks of a product
constexpr int64_t kBand = 48;  // of the inverse factor that must hold zeros above the diagonal
constexpr int64_t kMostLanes = 8;

// Numbers of scratch that a product of n columns needs.
inline int64_t pack_room(int64_t n) { return kDepth * (n + 24 + kTall); }

// The loops of gp_pair_loops.h and gp_linear_loops.h, which say what each does, compiled for one
// instruction set.
struct GpLoops {
  void (*gram)(const Pairs&, int64_t, int64_t, int64_t, double*, int64_t, const Kept&);
  void (*contract)(const Pairs&, int64_t, int64_t, int64_t, const double*, int64_t, double*,
                   double*, double*, const Kept&);
  void (*multiply)(const Product&, double*);
  int64_t (*factor)(double*, double*, int64_t, int64_t, const double*, double*);
  void (*gather)(const double*, double*, int64_t, int64_t, double*);
  void (*solve)(const double*, int64_t, int64_t, const double*, double*, double*);
  void (*adjoint)(double*, int64_t, int64_t, int64_t, const double*, bool);
};

// The widest set this processor has. The environment has no say: one machine, one set of bits.
const GpLoops& gp_loops();

// For tests: from now on, vectors of 2, 4 or 8 numbers, or with 0 the widest. False, and no change,
// where this processor or build has none.
bool gp_use_lanes(int64_t lanes);

}  // namespace jobs_bench
