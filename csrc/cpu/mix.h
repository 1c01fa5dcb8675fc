#pragma once

#include <cstdint>
#include <vector>

#include "../core/mix.h"

// One training stream on the CPU: raw pointers, no torch.

namespace jobs_bench {

// A mixture prepared for drawing: the splitting tree, and cumulative weights.
struct Stream {
  std::vector<Node> nodes;
  int64_t root = -1;
  std::vector<int64_t> edges;

  // weights: `domains` numbers of sum 2^30, at least one above 0.
  Stream(const int64_t* weights, int64_t domains);
};

// Domain and row at positions [start + begin, start + end), written to [begin, end).
void draw(const Stream& stream, const int64_t* sizes, uint64_t seed, int64_t start, bool stratified,
          int64_t begin, int64_t end, int64_t* domain, int64_t* row);

}  // namespace jobs_bench
