#include <algorithm>

#include "../cpu/mix_streams.h"
#include "mix_corpus.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "mix_pack";
constexpr int64_t kGrain = 65536;  // tokens that are worth a thread

// n documents of each of the K streams of mix_streams.h over the corpus of mix_corpus.h, each cut
// at `length` tokens, in order, next-fit into `rows` rows a stream; those after the first that
// finds no room are left out.
//   ids        (K, rows, length), int64 where `wide`, else int32
//   layout     (2, K, rows, length) int32: position in the document; document of the row from 1,
//              0 in the padding
//   documents  (K, rows) int32: documents of each row
//   table      (3, K, n) int64: tokens that are kept, domain, document; also of those left out
// Deterministic: the same bits as the reference in jobs_bench/ops/_mix_pack.py at any number of
// threads. Fresh outputs, no aliasing.
std::tuple<Tensor, Tensor, Tensor, Tensor> mix_pack(Tensor tokens, Tensor offsets, Tensor domains,
                                                    Tensor weights, Ints seeds, Ints starts,
                                                    Ints caps, bool stratified, int64_t n,
                                                    int64_t rows, int64_t length, int64_t pad,
                                                    bool wide) {
  const CorpusTensors c = corpus_of(kOp, tokens, offsets, domains);
  const Tensor w = checked(kOp, "weights", weights, ScalarType::Long, {-1, c.corpus.domains});
  const int64_t streams = w.size(0);
  check_row(kOp, length, pad, wide);
  require(rows >= 0, kOp, ": got rows=", rows, "; wanted at least 0");
  const auto mixtures = drawn_streams(kOp, w.const_data_ptr<int64_t>(), streams, c.corpus.domains,
                                      c.sizes.data(), seeds, starts, n, stratified, caps);
  const auto views = views_of(mixtures, c.sizes.data(), seeds, stratified);
  Tensor ids = empty(c.tokens, {streams, rows, length}, wide ? ScalarType::Long : ScalarType::Int);
  Tensor layout = empty(c.tokens, {2, streams, rows, length}, ScalarType::Int);
  Tensor documents = empty(c.tokens, {streams, rows}, ScalarType::Int);
  Tensor table = empty(c.tokens, {3, streams, n}, ScalarType::Long);
  auto* numbers = table.mutable_data_ptr<int64_t>();
  auto* counts = documents.mutable_data_ptr<int32_t>();
  auto* position = layout.mutable_data_ptr<int32_t>();
  const Rows out = {
      ids.mutable_data_ptr(), wide, position, position + streams * rows * length, length, pad};
  for (int64_t k = 0; k < streams; ++k) {
    plan_pack(c.corpus, views[k], starts[k], n, rows, length, table_at(numbers, streams * n, k * n),
              counts + k * rows);
  }
  const Table all = table_at(numbers, streams * n, 0);
  share(streams * rows, std::max<int64_t>(1, kGrain / length), [&](int64_t begin, int64_t end) {
    pack_rows(c.corpus, n, rows, begin, end, all, counts, out);
  });
  return {ids, layout, documents, table};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CPU, m) { m.impl("mix_pack", TORCH_BOX(&mix_pack)); }

}  // namespace
}  // namespace jobs_bench
