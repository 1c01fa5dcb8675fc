#pragma once

#include <cstdint>
#include <vector>

#include "../core/require.h"
#include "mix.h"

// What mixture operators and host classes take in common, checked: K streams.
//   weights  (K, D) int64, >= 0, rows summing to 2^30
//   seeds    K numbers of [0, 2^63)
//   starts   K positions of [0, 2^60)
//   caps     none, or D numbers: how often a domain may be drawn, above 0 where any weight is

namespace jobs_bench {

using Numbers = std::vector<int64_t>;

constexpr int64_t kWeightTotal = int64_t{1} << 30;

// Rows of a weight matrix as streams up to a position each.
inline std::vector<Stream> streams_of(const char* op, const int64_t* weights, int64_t streams,
                                      int64_t domains, const Numbers& untils, const Numbers& caps) {
  require(static_cast<int64_t>(untils.size()) == streams, op, ": got ", untils.size(),
          " positions; wanted ", streams, ", one a stream");
  require(caps.empty() || static_cast<int64_t>(caps.size()) == domains, op, ": got ", caps.size(),
          " caps; wanted none or ", domains, ", one a domain");
  std::vector<Stream> out;
  out.reserve(streams);
  for (int64_t k = 0; k < streams; ++k) {
    const int64_t* row = weights + k * domains;
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
inline std::vector<Stream> drawn_streams(const char* op, const int64_t* weights, int64_t streams,
                                         int64_t domains, const int64_t* sizes,
                                         const Numbers& seeds, const Numbers& starts, int64_t n,
                                         bool stratified, const Numbers& caps) {
  require(static_cast<int64_t>(seeds.size()) == streams &&
              static_cast<int64_t>(starts.size()) == streams,
          op, ": got ", seeds.size(), " seeds and ", starts.size(), " starts; wanted ", streams,
          ", one a stream");
  require(n >= 0, op, ": got n=", n, "; wanted at least 0");
  require(stratified || caps.empty(), op, ": got caps on iid draws; wanted them stratified");
  Numbers untils(streams);
  for (int64_t k = 0; k < streams; ++k) {
    require(seeds[k] >= 0, op, ": got seed ", seeds[k], "; wanted [0, 2^63)");
    require(starts[k] >= 0 && starts[k] <= kForever - n, op, ": got start ", starts[k],
            "; wanted [0, 2^60 - n]");
    untils[k] = starts[k] + n;
  }
  std::vector<Stream> out = streams_of(op, weights, streams, domains, untils, caps);
  for (int64_t i = 0; i < streams * domains; ++i) {
    require(weights[i] == 0 || sizes[i % domains] > 0, op, ": stream ", i / domains,
            " draws from domain ", i % domains, ", which has ", sizes[i % domains], " rows");
  }
  return out;
}

// Each stream as the loops take it.
inline std::vector<StreamView> views_of(const std::vector<Stream>& streams, const int64_t* sizes,
                                        const Numbers& seeds, bool stratified) {
  std::vector<StreamView> views;
  views.reserve(streams.size());
  for (size_t k = 0; k < streams.size(); ++k) {
    views.push_back(streams[k].view(sizes, static_cast<uint64_t>(seeds[k]), stratified));
  }
  return views;
}

}  // namespace jobs_bench
