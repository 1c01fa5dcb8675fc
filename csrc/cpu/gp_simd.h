#pragma once

#include <cstdint>

namespace jobs_bench {

constexpr int64_t kBlock = 32;  // columns of a Cholesky block

// Two sets of points, by columns: first the smooth ones, divided by their lengthscales, then the
// named ones. Padding holds finite numbers.
struct Pairs {
  const double* a;
  int64_t lda;
  const double* b;
  int64_t ldb;
  int64_t smooth;
  int64_t names;
  const double* weights;  // of the named columns
  double scale;
  int64_t kind;
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

// The widest set this processor has. The environment has no say: one machine, one set of bits.
const GpLoops& gp_loops();

}  // namespace jobs_bench
