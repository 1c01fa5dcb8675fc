#pragma once

#include <algorithm>
#include <vector>

#include "../cpu/mix.h"
#include "tensors.h"

// What the mixture operators take in common, checked: K streams.
//   weights  (K, D) int64, >= 0, rows summing to 2^30
//   seeds    K numbers of [0, 2^63)
//   starts   K positions of [0, 2^60)
//   caps     none, or D numbers: how often a domain may be drawn, above 0 where any weight is

namespace jobs_bench {

constexpr int64_t kWeightTotal = int64_t{1} << 30;

// Rows of a weight matrix as streams up to a position each; `weights` is contiguous, on the host.
inline std::vector<Stream> streams_of(const char* op, const Tensor& weights, const Ints& untils,
                                      const Ints& caps) {
  const int64_t streams = weights.size(0), domains = weights.size(1);
  const auto* w = weights.const_data_ptr<int64_t>();
  require(static_cast<int64_t>(untils.size()) == streams, op, ": got ", untils.size(),
          " positions; wanted ", streams, ", one a stream");
  require(caps.empty() || static_cast<int64_t>(caps.size()) == domains, op, ": got ", caps.size(),
          " caps; wanted none or ", domains, ", one a domain");
  std::vector<Stream> out;
  out.reserve(streams);
  for (int64_t k = 0; k < streams; ++k) {
    const int64_t* row = w + k * domains;
    int64_t sum = 0;
    for (int64_t d = 0; d < domains; ++d) {
      const bool fits = row[d] >= 0 && row[d] <= kWeightTotal - sum;
      require(fits, op, ": got weight ", row[d], " of domain ", d, " in stream ", k,
              "; wanted weights >= 0 of sum ", kWeightTotal);
      require(caps.empty() || row[d] == 0 || caps[d] > 0, op, ": stream ", k, " draws from domain ",
              d, ", which may be drawn 0 times");
      sum += row[d];
    }
    require(sum == kWeightTotal, op, ": got weights of sum ", sum, " in stream ", k, "; wanted ",
            kWeightTotal);
    require(untils[k] >= 0 && untils[k] <= kForever, op, ": got position ", untils[k],
            " in stream ", k, "; wanted [0, ", kForever, "]");
    out.emplace_back(row, caps.empty() ? nullptr : caps.data(), domains, untils[k]);
    require(untils[k] <= out.back().end(), op, ": stream ", k, " ends at position ",
            out.back().end(), ", where every domain has reached its cap; got position ", untils[k]);
  }
  return out;
}

// The same for n positions of each stream, all of it checked.
inline std::vector<Stream> drawn_streams(const char* op, const Tensor& weights,
                                         const int64_t* sizes, const Ints& seeds,
                                         const Ints& starts, int64_t n, bool stratified,
                                         const Ints& caps) {
  const int64_t streams = weights.size(0), domains = weights.size(1);
  require(static_cast<int64_t>(seeds.size()) == streams &&
              static_cast<int64_t>(starts.size()) == streams,
          op, ": got ", seeds.size(), " seeds and ", starts.size(), " starts; wanted ", streams,
          ", one a stream");
  require(n >= 0, op, ": got n=", n, "; wanted at least 0");
  require(stratified || caps.empty(), op, ": got caps on iid draws; wanted them stratified");
  Ints untils(streams);
  for (int64_t k = 0; k < streams; ++k) {
    require(seeds[k] >= 0, op, ": got seed ", seeds[k], "; wanted [0, 2^63)");
    require(starts[k] >= 0 && starts[k] <= kForever - n, op, ": got start ", starts[k],
            "; wanted [0, 2^60 - n]");
    untils[k] = starts[k] + n;
  }
  std::vector<Stream> out = streams_of(op, weights, untils, caps);
  const auto* w = weights.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < streams * domains; ++i) {
    require(w[i] == 0 || sizes[i % domains] > 0, op, ": stream ", i / domains,
            " draws from domain ", i % domains, ", which has ", sizes[i % domains], " rows");
  }
  return out;
}

}  // namespace jobs_bench
