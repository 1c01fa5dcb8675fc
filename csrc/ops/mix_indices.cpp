#include "../cpu/mix_streams.h"
#include "tensors.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "mix_indices";
constexpr int64_t kGrain = 4096;  // positions that are worth a thread

// (domain, row), each (K, n) int64, of n positions of the K streams of mix_streams.h.
//   sizes    (D,) int64, above 0 where any weight is
// Deterministic: the same bits as the reference in jobs_bench/ops/_mix.py at any number of threads.
// Fresh outputs, no aliasing.
std::tuple<Tensor, Tensor> mix_indices(Tensor weights, Tensor sizes, Ints seeds, Ints starts,
                                       int64_t n, bool stratified, Ints caps) {
  const Tensor w = checked(kOp, "weights", weights, ScalarType::Long, {-1, -1});
  const int64_t streams = w.size(0), domains = w.size(1);
  const Tensor s = checked(kOp, "sizes", sizes, ScalarType::Long, {domains});
  const auto* sp = s.const_data_ptr<int64_t>();
  const auto mixtures = drawn_streams(kOp, w.const_data_ptr<int64_t>(), streams, domains, sp, seeds,
                                      starts, n, stratified, caps);
  Tensor domain = empty(w, {streams, n}, ScalarType::Long);
  Tensor row = empty(w, {streams, n}, ScalarType::Long);
  auto* dp = domain.mutable_data_ptr<int64_t>();
  auto* rp = row.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < streams; ++k) {
    const StreamView view = mixtures[k].view(sp, static_cast<uint64_t>(seeds[k]), stratified);
    share(n, kGrain, [&](int64_t begin, int64_t end) {
      draw(view, starts[k] + begin, end - begin, dp + k * n + begin, rp + k * n + begin);
    });
  }
  return {domain, row};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_indices", TORCH_BOX(&mix_indices)); }

}  // namespace
}  // namespace jobs_bench
