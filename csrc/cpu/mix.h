#pragma once

#include <cstdint>
#include <vector>

#include "../core/mix.h"

// Training streams on the CPU: raw pointers, no torch.

namespace jobs_bench {

constexpr int64_t kForever = int64_t{1} << 60;  // positions lie below it

// A mixture prepared for drawing, up to a position.
class Stream {
 public:
  // weights: `domains` numbers of sum at most 2^30, at least one above 0.
  // caps:    how often each domain may be drawn, above 0 where its weight is; null: no limit. An
  //          exhausted domain leaves the mixture, and the others share its weight in proportion.
  // until:   positions from 0 that will be asked for, at most kForever.
  Stream(const int64_t* weights, const int64_t* caps, int64_t domains, int64_t until);

  // Position at which every domain is exhausted, or kForever; exact where it is below `until`.
  int64_t end() const { return end_; }

  // Nodes of all trees, as view() shows them.
  int64_t nodes() const { return static_cast<int64_t>(nodes_.size()); }

  // Counts of each domain before a position of [0, until].
  void counts(int64_t position, int64_t* out) const;

  // sizes: rows of each domain, above 0 where its weight is.
  StreamView view(const int64_t* sizes, uint64_t seed, bool stratified) const;

 private:
  int64_t grow(const std::vector<int64_t>& weights);
  int64_t first_exhausted(int64_t root, int64_t first, const std::vector<int64_t>& left) const;
  void spread(int64_t root, int64_t first, int64_t t, int64_t* counts) const;

  int64_t domains_;
  int64_t end_ = kForever;
  std::vector<Node> nodes_;
  std::vector<Phase> phases_;
  std::vector<int64_t> firsts_;  // first node of each phase
  std::vector<int64_t> bases_;
  std::vector<int64_t> edges_;
};

// Domain and row at positions [start, start + n).
void draw(const StreamView& stream, int64_t start, int64_t n, int64_t* domain, int64_t* row);

}  // namespace jobs_bench
