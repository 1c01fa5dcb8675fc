#include "../cpu/mix_streams.h"
#include "tensors.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "mix_counts";

// (K, D) int64: how often each domain stands before a position of the K stratified streams of
// mix_streams.h. A pure function, the same bits as the reference in jobs_bench/ops/_mix.py.
Tensor mix_counts(Tensor weights, Ints positions, Ints caps) {
  const Tensor w = checked(kOp, "weights", weights, ScalarType::Long, {-1, -1});
  const int64_t streams = w.size(0), domains = w.size(1);
  const auto mixtures =
      streams_of(kOp, w.const_data_ptr<int64_t>(), streams, domains, positions, caps);
  Tensor counts = empty(w, {streams, domains}, ScalarType::Long);
  auto* out = counts.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < streams; ++k) mixtures[k].counts(positions[k], out + k * domains);
  return counts;
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_counts", TORCH_BOX(&mix_counts)); }

}  // namespace
}  // namespace jobs_bench
