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

// A stretch of a stratified stream between two exhausted domains: its first position, its tree.
struct Phase {
  int64_t start;
  int64_t root;
};

// A stream ready for drawing: what lies behind the pointers belongs to someone else.
struct StreamView {
  const Node* nodes;
  const Phase* phases;   // in order of start, the first at 0
  const int64_t* bases;  // (phases, domains): counts at the start of each phase
  const int64_t* edges;  // cumulative weights, sum 2^30
  const int64_t* sizes;  // rows of each domain
  int64_t count;         // phases
  int64_t domains;
  uint64_t seed;
  bool stratified;
};

struct Place {
  int64_t domain;
  int64_t count;
};

// How many of t positions go left, round(t * left / total), and whether the next one does.
struct Split {
  int64_t before;
  bool left;
};

// Exact for t up to 2^60 and weights up to 2^30.
JB_HOST_DEVICE inline Split split_at(const Node& n, int64_t t) {
  const auto left = static_cast<uint64_t>(n.left), total = static_cast<uint64_t>(n.total);
  auto u = static_cast<uint64_t>(t);
  uint64_t whole = 0;
  if (u >> 32) {
    whole = u / total * left;
    u %= total;
  }
  const uint64_t scaled = u * left + total / 2;
  const uint64_t part = scaled / total;
  return {static_cast<int64_t>(whole + part), scaled - part * total + left >= total};
}

// Domain at a position of a tree, and how often it came before.
JB_HOST_DEVICE inline Place split_down(const Node* nodes, int64_t node, int64_t t) {
  while (node >= 0) {
    const Node& n = nodes[node];
    const Split split = split_at(n, t);
    t = split.left ? split.before : t - split.before;
    node = split.left ? n.a : n.b;
  }
  return {-node - 1, t};
}

// The phase that holds a position.
JB_HOST_DEVICE inline int64_t phase_of(const StreamView& s, int64_t at) {
  int64_t p = s.count - 1;
  while (s.phases[p].start > at) --p;
  return p;
}

// Domain at a position of a stratified stream, and how often it came before.
JB_HOST_DEVICE inline Place place_at(const StreamView& s, int64_t at) {
  const int64_t p = phase_of(s, at);
  const Place place = split_down(s.nodes, s.phases[p].root, at - s.phases[p].start);
  return {place.domain, place.count + s.bases[p * s.domains + place.domain]};
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

struct RoundKeys {
  uint32_t word[8];
};

JB_HOST_DEVICE inline RoundKeys round_keys(uint64_t epoch, uint64_t seed, int64_t domain) {
  const uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  RoundKeys keys;
  for (uint32_t block = 0; block < 2; ++block) {
    const Words4 counter = {{static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32),
                             static_cast<uint32_t>(2 * domain) + block, kStratified}};
    const Words4 words = philox(counter, k0, k1);
    for (int i = 0; i < 4; ++i) keys.word[4 * block + i] = words.w[i];
  }
  return keys;
}

// A permutation of 0 .. size - 1: a Feistel network on 2 * half bits, walked until below size.
JB_HOST_DEVICE inline int64_t permute(uint64_t v, uint64_t size, int half, const RoundKeys& keys) {
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t a = v >> half, b = v & mask;
    for (int r = 0; r < kRounds; ++r) {
      const uint64_t next = a ^ (mix32(static_cast<uint32_t>(b) ^ keys.word[r]) & mask);
      a = b;
      b = next;
    }
    v = (a << half) | b;
  } while (v >= size);
  return static_cast<int64_t>(v);
}

struct Drawn {
  int64_t domain;
  int64_t row;
};

// Domain and row drawn independently, with replacement.
JB_HOST_DEVICE inline Drawn draw_iid(const StreamView& s, int64_t at) {
  const uint64_t u = static_cast<uint64_t>(at);
  const Words4 counter = {{static_cast<uint32_t>(u), static_cast<uint32_t>(u >> 32), 0, kIid}};
  const Words4 w =
      philox(counter, static_cast<uint32_t>(s.seed), static_cast<uint32_t>(s.seed >> 32));
  const int64_t draw = static_cast<int64_t>(((static_cast<uint64_t>(w.w[1]) << 32) | w.w[0]) >> 34);
  int64_t d = 0, high = s.domains - 1;  // the first domain whose edge is above the draw
  while (d < high) {
    const int64_t middle = (d + high) / 2;
    if (draw < s.edges[middle]) {
      high = middle;
    } else {
      d = middle + 1;
    }
  }
  // high half of word * size: Lemire's range reduction, from 32-bit parts
  const uint64_t size = static_cast<uint64_t>(s.sizes[d]);
  const uint64_t s0 = size & 0xFFFFFFFFu, s1 = size >> 32;
  const uint64_t cross = ((w.w[2] * s0) >> 32) + w.w[3] * s0;
  const uint64_t upper = (cross & 0xFFFFFFFFu) + w.w[2] * s1;
  return {d, static_cast<int64_t>((cross >> 32) + (upper >> 32) + w.w[3] * s1)};
}

// Domain and row at a position of any stream.
JB_HOST_DEVICE inline Drawn draw_at(const StreamView& s, int64_t at) {
  if (!s.stratified) return draw_iid(s, at);
  const Place place = place_at(s, at);
  const uint64_t count = static_cast<uint64_t>(place.count);
  const uint64_t size = static_cast<uint64_t>(s.sizes[place.domain]);
  const RoundKeys keys = round_keys(count / size, s.seed, place.domain);
  return {place.domain, permute(count % size, size, half_bits(size), keys)};
}

}  // namespace jobs_bench
