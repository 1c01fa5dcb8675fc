// Everything that is compiled once for each instruction set, see gp_vectors.h.

#include "gp_vectors.h"

#include "gp_linear_loops.h"
#include "gp_pair_loops.h"

constexpr GpLoops kLoops = {gram, contract, multiply, factor, gather, solve, adjoint};
