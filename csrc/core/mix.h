#pragma once

#include <cstdint>

#include "philox.h"

// Which row of which domain stands at a position of a training stream: the arithmetic, shared by
// all devices. The definition of right is jobs_bench/ops/_mix.py; names and constants are its.

namespace jobs_bench {

constexpr int kRounds = 6;
constexpr uint32_t kStratified = 0;
constexpr uint32_t kIid = 1;

// A node of the splitting tree; a child c >= 0 is a node, c < 0 the domain -c - 1.
struct Node {
  int64_t left;
  int64_t total;
  int64_t a;
  int64_t b;
};

struct Place {
  int64_t domain;
  int64_t count;
};

// round(t * left / total), exact for t up to 2^60 and weights up to 2^30
JB_HOST_DEVICE inline int64_t gone_left(int64_t t, int64_t left, int64_t total) {
  return (t / total) * left + ((t % total) * left + total / 2) / total;
}

// Domain at a position, and how often it came before.
JB_HOST_DEVICE inline Place split_down(const Node* nodes, int64_t node, int64_t t) {
  while (node >= 0) {
    const Node& n = nodes[node];
    const int64_t before = gone_left(t, n.left, n.total);
    const bool left = gone_left(t + 1, n.left, n.total) > before;
    t = left ? before : t - before;
    node = left ? n.a : n.b;
  }
  return {-node - 1, t};
}

JB_HOST_DEVICE inline uint32_t mix32(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

JB_HOST_DEVICE inline int half_bits(uint64_t size) {
  int bits = 0;
  for (uint64_t x = size - 1; x != 0; x >>= 1) ++bits;
  return ((bits < 2 ? 2 : bits) + 1) / 2;
}

// Row at a count: a permutation of 0 .. size - 1, keyed by (seed, domain, epoch).
JB_HOST_DEVICE inline int64_t permute(int64_t count, int64_t size, uint64_t seed, int64_t domain) {
  const int half = half_bits(static_cast<uint64_t>(size));
  const uint64_t mask = (uint64_t{1} << half) - 1;
  const uint64_t epoch = static_cast<uint64_t>(count / size);
  const uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  uint32_t keys[8];
  for (uint32_t block = 0; block < 2; ++block) {
    const Words4 counter = {{static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32),
                             static_cast<uint32_t>(2 * domain) + block, kStratified}};
    const Words4 words = philox(counter, k0, k1);
    for (int i = 0; i < 4; ++i) keys[4 * block + i] = words.w[i];
  }
  uint64_t v = static_cast<uint64_t>(count % size);
  do {
    uint64_t a = v >> half, b = v & mask;
    for (int r = 0; r < kRounds; ++r) {
      const uint64_t f = mix32(static_cast<uint32_t>(b) ^ keys[r]) & mask;
      const uint64_t next = a ^ f;
      a = b;
      b = next;
    }
    v = (a << half) | b;
  } while (v >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(v);
}

// Domain and row drawn independently, with replacement. edges: cumulative weights, sum 2^30.
JB_HOST_DEVICE inline void draw_iid(const int64_t* edges, const int64_t* sizes, int64_t domains,
                                    uint64_t seed, int64_t at, int64_t* domain, int64_t* row) {
  const uint64_t u = static_cast<uint64_t>(at);
  const Words4 counter = {{static_cast<uint32_t>(u), static_cast<uint32_t>(u >> 32), 0, kIid}};
  const Words4 w = philox(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const int64_t draw =
      static_cast<int64_t>(((static_cast<uint64_t>(w.w[1]) << 32) | w.w[0]) >> 34);
  int64_t d = 0;
  while (d + 1 < domains && draw >= edges[d]) ++d;
  // high half of word * size: Lemire's range reduction, from 32-bit parts
  const uint64_t size = static_cast<uint64_t>(sizes[d]);
  const uint64_t s0 = size & 0xFFFFFFFFu, s1 = size >> 32;
  const uint64_t cross = ((w.w[2] * s0) >> 32) + w.w[3] * s0;
  const uint64_t upper = (cross & 0xFFFFFFFFu) + w.w[2] * s1;
  *domain = d;
  *row = static_cast<int64_t>((cross >> 32) + (upper >> 32) + w.w[3] * s1);
}

}  // namespace jobs_bench
