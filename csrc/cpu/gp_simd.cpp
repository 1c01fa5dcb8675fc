#include "gp_simd.h"

#include <atomic>
#include <cmath>

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

namespace {

// The loops over vectors of that many numbers, or of as many as possible; null: not here.
const GpLoops* loops_of(int64_t lanes) {
#if defined(JB_X86)
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool wide = fma && __builtin_cpu_supports("avx512f") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (wide && (lanes == 0 || lanes == 8)) return &avx512::kLoops;
  if (fma && (lanes == 0 || lanes == 4)) return &avx2::kLoops;
#endif
  return lanes == 0 || lanes == 2 ? &plain::kLoops : nullptr;
}

std::atomic<const GpLoops*> chosen{loops_of(0)};

}  // namespace

const GpLoops& gp_loops() { return *chosen.load(std::memory_order_relaxed); }

bool gp_use_lanes(int64_t lanes) {
  const GpLoops* loops = loops_of(lanes);
  if (loops != nullptr) chosen.store(loops);
  return loops != nullptr;
}

}  // namespace jobs_bench
