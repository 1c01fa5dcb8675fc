#include "gp_simd.h"

#include "../core/gp.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jobs_bench {

namespace plain {
#define JB_LANES 2
#define JB_FUSED(a, b, c) (Vec{fused((a)[0], (b)[0], (c)[0]), fused((a)[1], (b)[1], (c)[1])})
#include "gp_loops.h"
#undef JB_FUSED
#undef JB_LANES
}  // namespace plain

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define JB_X86

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define JB_LANES 4
#define JB_FUSED(a, b, c) (Vec) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#include "gp_loops.h"
#undef JB_FUSED
#undef JB_LANES
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
namespace avx512 {
#define JB_LANES 8
#define JB_FUSED(a, b, c) (Vec) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#include "gp_loops.h"
#undef JB_FUSED
#undef JB_LANES
}  // namespace avx512
#pragma GCC pop_options

#endif

const GpLoops& gp_loops() {
#if defined(JB_X86)
  static const GpLoops& chosen = []() -> const GpLoops& {
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return avx512::kLoops;
    }
    return fma ? avx2::kLoops : plain::kLoops;
  }();
  return chosen;
#else
  return plain::kLoops;
#endif
}

}  // namespace jobs_bench
