#include <algorithm>

#include "../cpu/mix.h"
#include "tensors.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "mix_indices";
constexpr int64_t kGrain = 4096;  // positions that are worth a thread

// (domain, row), each (K, n) int64, of n positions of K training streams.
//   weights  (K, D) int64, rows summing to 2^30
//   sizes    (D,) int64, above 0 where any weight is
//   seeds    K numbers of [0, 2^63)
//   starts   K positions of [0, 2^60)
// Deterministic: the same bits as the reference in jobs_bench/ops/_mix.py at any number of threads.
// Fresh outputs, no aliasing. Values are checked in Python, shapes once more here.
std::tuple<Tensor, Tensor> mix_indices(Tensor weights, Tensor sizes, Ints seeds, Ints starts,
                                       int64_t n, bool stratified) {
  const Tensor w = checked(kOp, "weights", weights, ScalarType::Long, {-1, -1});
  const int64_t streams = w.size(0), domains = w.size(1);
  const Tensor s = checked(kOp, "sizes", sizes, ScalarType::Long, {domains});
  require(static_cast<int64_t>(std::min(seeds.size(), starts.size())) == streams &&
              seeds.size() == starts.size(),
          kOp, ": got ", seeds.size(), " seeds and ", starts.size(), " starts; wanted ", streams,
          ", one a stream");
  require(n >= 0, kOp, ": got n=", n, "; wanted at least 0");
  const auto* wp = w.const_data_ptr<int64_t>();
  const auto* sp = s.const_data_ptr<int64_t>();
  Tensor domain = empty(w, {streams, n}, ScalarType::Long);
  Tensor row = empty(w, {streams, n}, ScalarType::Long);
  auto* dp = domain.mutable_data_ptr<int64_t>();
  auto* rp = row.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < streams; ++k) {
    const auto* mixture = wp + k * domains;
    require(std::any_of(mixture, mixture + domains, [](int64_t x) { return x > 0; }), kOp,
            ": stream ", k, " has no weight above 0");
    const Stream stream(mixture, domains);
    share(n, kGrain, [&](int64_t begin, int64_t end) {
      draw(stream, sp, static_cast<uint64_t>(seeds[k]), starts[k], stratified, begin, end,
           dp + k * n, rp + k * n);
    });
  }
  return {domain, row};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_indices", TORCH_BOX(&mix_indices)); }

}  // namespace
}  // namespace jobs_bench
