#include "../ops/mix_indices.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <functional>
#include <queue>
#include <vector>

#include "../core/mix.h"

namespace jobs_bench {
namespace {

struct Tree {
  std::vector<Node> nodes;
  int64_t root = -1;
};

// The Huffman tree of the weights; ties go to the older entry, domains in order.
Tree build_tree(const int64_t* weights, int64_t domains) {
  struct Entry {
    int64_t weight, age, child;
    bool operator>(const Entry& o) const {
      return weight != o.weight ? weight > o.weight : age > o.age;
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap;
  for (int64_t d = 0; d < domains; ++d) {
    if (weights[d] > 0) heap.push({weights[d], d, -d - 1});
  }
  Tree tree;
  while (heap.size() > 1) {
    const Entry light = heap.top();
    heap.pop();
    const Entry heavy = heap.top();
    heap.pop();
    const int64_t total = light.weight + heavy.weight;
    const auto at = static_cast<int64_t>(tree.nodes.size());
    heap.push({total, domains + at, at});
    tree.nodes.push_back({heavy.weight, total, heavy.child, light.child});
  }
  tree.root = heap.top().child;
  return tree;
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> mix_indices_cpu(const at::Tensor& weights,
                                                   const at::Tensor& sizes, at::IntArrayRef seeds,
                                                   at::IntArrayRef starts, int64_t n,
                                                   bool stratified) {
  TORCH_CHECK(weights.dim() == 2 && sizes.dim() == 1 && sizes.size(0) == weights.size(1),
              "mix_indices: got weights ", weights.sizes(), " and sizes ", sizes.sizes(),
              "; wanted (K, D) and (D,)");
  TORCH_CHECK(weights.scalar_type() == at::kLong && sizes.scalar_type() == at::kLong,
              "mix_indices: got dtypes ", weights.scalar_type(), " and ", sizes.scalar_type(),
              "; wanted int64 twice");
  const int64_t streams = weights.size(0), domains = weights.size(1);
  TORCH_CHECK(static_cast<int64_t>(seeds.size()) == streams &&
                  static_cast<int64_t>(starts.size()) == streams,
              "mix_indices: got ", seeds.size(), " seeds and ", starts.size(), " starts for ",
              streams, " streams");
  TORCH_CHECK(n >= 0, "mix_indices: got n=", n, "; wanted at least 0");
  const at::Tensor w = weights.contiguous(), s = sizes.contiguous();
  const auto* wp = w.const_data_ptr<int64_t>();
  const auto* sp = s.const_data_ptr<int64_t>();
  at::Tensor domain = at::empty({streams, n}, weights.options());
  at::Tensor row = at::empty({streams, n}, weights.options());
  auto* dp = domain.mutable_data_ptr<int64_t>();
  auto* rp = row.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < streams; ++k) {
    int64_t heaviest = 0;
    std::vector<int64_t> edges(domains);
    for (int64_t d = 0, sum = 0; d < domains; ++d) {
      edges[d] = sum += wp[k * domains + d];
      heaviest = std::max(heaviest, wp[k * domains + d]);
    }
    TORCH_CHECK(heaviest > 0, "mix_indices: stream ", k, " has no weight above 0");
    const auto seed = static_cast<uint64_t>(seeds[k]);
    const Tree tree = build_tree(wp + k * domains, domains);
    at::parallel_for(0, n, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t* d = dp + k * n + i;
        int64_t* r = rp + k * n + i;
        if (stratified) {
          const Place place = split_down(tree.nodes.data(), tree.root, starts[k] + i);
          *d = place.domain;
          *r = permute(place.count, sp[place.domain], seed, place.domain);
        } else {
          draw_iid(edges.data(), sp, domains, seed, starts[k] + i, d, r);
        }
      }
    });
  }
  return {domain, row};
}

TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_indices", &mix_indices_cpu); }

}  // namespace jobs_bench
