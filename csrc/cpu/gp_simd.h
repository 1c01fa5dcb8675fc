#pragma once

#include <cstdint>

namespace jobs_bench {

constexpr int64_t kBlock = 32;  // columns of a Cholesky block

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

// The loops of gp_loops.h, which says what each does, compiled for one instruction set.
struct GpLoops {
  void (*gram)(const Pairs&, int64_t, int64_t, int64_t, double*, int64_t);
  void (*contract)(const Pairs&, int64_t, int64_t, int64_t, const double*, int64_t, double*,
                   double*, double*);
  void (*multiply)(double*, int64_t, const double*, int64_t, int64_t, const double*, int64_t,
                   int64_t, int64_t, int64_t, double);
  int64_t (*factor)(double*, int64_t, int64_t, const double*, double*, double*);
  void (*invert)(const double*, double*, int64_t, int64_t, const double*, double*);
  void (*gather)(const double*, double*, int64_t, int64_t);
  void (*solve)(const double*, int64_t, int64_t, const double*, double*, double*);
};

constexpr int64_t kMostLanes = 8;
constexpr int64_t kRows = 4;   // rows of a tile: contract's and gram's ranges are multiples of it
constexpr int64_t kCols = 16;  // columns of a tile, at most: so are their numbers of columns

// The widest set this processor has. The environment has no say: one machine, one set of bits.
const GpLoops& gp_loops();

}  // namespace jobs_bench
