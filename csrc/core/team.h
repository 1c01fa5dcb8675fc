#pragma once

#include <cstdint>

#include "philox.h"

// A CUDA kernel's body is written once, as phases: team.each(n, f) calls f(0) .. f(n - 1) in any
// order, at once or one after another; all of them are done, and what they wrote is seen, before
// the next phase. Within a phase no call may read what another one writes. A body keeps to that and
// to sums in a fixed order, so it gives the same bits with any number of threads: those of a block
// on a GPU, or one in a test, where the order is turned about as well.

namespace jobs_bench {

#if defined(__CUDACC__)
struct BlockTeam {
  template <class F>
  __device__ void each(int64_t n, const F& f) const {
    for (int64_t q = threadIdx.x; q < n; q += blockDim.x) f(q);
    __syncthreads();
  }
};
#endif

// A body is a template over its team; nvcc compiles it for the device alone. A piece is called from
// several bodies and compiled once.
#if defined(__CUDACC__)
#define JB_BODY __device__ inline
#define JB_PIECE __device__ __noinline__
#else
#define JB_BODY inline
#define JB_PIECE inline
#endif

}  // namespace jobs_bench
