#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define JB_HOST_DEVICE __host__ __device__
#else
#define JB_HOST_DEVICE
#endif

namespace jobs_bench {

struct Words4 {
  uint32_t w[4];
};

// Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// The same bits as jobs_bench/ops/_philox.py.
JB_HOST_DEVICE inline Words4 philox(Words4 c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(c.w[0]) * 0xD2511F53u;
    const uint64_t p1 = static_cast<uint64_t>(c.w[2]) * 0xCD9E8D57u;
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.w[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.w[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

}  // namespace jobs_bench
