#include "mix.h"

#include <functional>
#include <queue>

namespace jobs_bench {

// The Huffman tree of the weights; ties go to the older entry, domains in order.
Stream::Stream(const int64_t* weights, int64_t domains) : edges(domains) {
  struct Entry {
    int64_t weight, age, child;
    bool operator>(const Entry& o) const {
      return weight != o.weight ? weight > o.weight : age > o.age;
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap;
  for (int64_t d = 0, sum = 0; d < domains; ++d) {
    edges[d] = sum += weights[d];
    if (weights[d] > 0) heap.push({weights[d], d, -d - 1});
  }
  while (heap.size() > 1) {
    const Entry light = heap.top();
    heap.pop();
    const Entry heavy = heap.top();
    heap.pop();
    const int64_t total = light.weight + heavy.weight;
    const auto at = static_cast<int64_t>(nodes.size());
    heap.push({total, domains + at, at});
    nodes.push_back({heavy.weight, total, heavy.child, light.child});
  }
  root = heap.top().child;
}

void draw(const Stream& stream, const int64_t* sizes, uint64_t seed, int64_t start, bool stratified,
          int64_t begin, int64_t end, int64_t* domain, int64_t* row) {
  const auto domains = static_cast<int64_t>(stream.edges.size());
  for (int64_t i = begin; i < end; ++i) {
    if (stratified) {
      const Place place = split_down(stream.nodes.data(), stream.root, start + i);
      domain[i] = place.domain;
      row[i] = permute(place.count, sizes[place.domain], seed, place.domain);
    } else {
      draw_iid(stream.edges.data(), sizes, domains, seed, start + i, domain + i, row + i);
    }
  }
}

}  // namespace jobs_bench
