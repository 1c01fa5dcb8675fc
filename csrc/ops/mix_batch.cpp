#include <algorithm>

#include "../cpu/mix_streams.h"
#include "mix_corpus.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "mix_batch";
constexpr int64_t kGrain = 65536;  // tokens that are worth a thread

// One document a row, cut at `length` tokens and padded on its right: n rows of each of the K
// streams of mix_streams.h over the corpus of mix_corpus.h.
//   ids    (K, n, length), int64 where `wide`, else int32
//   table  (3, K, n) int64: tokens that were kept, domain, document
// Deterministic: the same bits as the reference in jobs_bench/ops/_mix_batch.py at any number of
// threads. Fresh outputs, no aliasing.
std::tuple<Tensor, Tensor> mix_batch(Tensor tokens, Tensor offsets, Tensor domains, Tensor weights,
                                     Ints seeds, Ints starts, Ints caps, bool stratified, int64_t n,
                                     int64_t length, int64_t pad, bool wide) {
  const CorpusTensors c = corpus_of(kOp, tokens, offsets, domains);
  const Tensor w = checked(kOp, "weights", weights, ScalarType::Long, {-1, c.corpus.domains});
  const int64_t streams = w.size(0);
  check_row(kOp, length, pad, wide);
  const auto mixtures = drawn_streams(kOp, w.const_data_ptr<int64_t>(), streams, c.corpus.domains,
                                      c.sizes.data(), seeds, starts, n, stratified, caps);
  const auto views = views_of(mixtures, c.sizes.data(), seeds, stratified);
  Tensor ids = empty(c.tokens, {streams, n, length}, wide ? ScalarType::Long : ScalarType::Int);
  Tensor table = empty(c.tokens, {3, streams, n}, ScalarType::Long);
  auto* numbers = table.mutable_data_ptr<int64_t>();
  const Rows rows = {ids.mutable_data_ptr(), wide, nullptr, nullptr, length, pad};
  share(streams * n, std::max<int64_t>(1, kGrain / length), [&](int64_t begin, int64_t end) {
    batch_rows(c.corpus, views.data(), starts.data(), n, streams * n, begin, end, numbers, rows);
  });
  return {ids, table};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_batch", TORCH_BOX(&mix_batch)); }

}  // namespace
}  // namespace jobs_bench
