#pragma once

#include <vector>

#include "../cpu/mix_batch.h"
#include "tensors.h"

// A corpus given as tensors, checked for shape; what it holds is checked once, in Python, and each
// document's place again as it is drawn.
//   tokens   (T,) uint16 or int32
//   offsets  (N + 1,) int64, rising from 0 to T
//   domains  (D + 1,) int64 on the host, rising from 0 to N: where each domain's documents begin

namespace jobs_bench {

// Tensors kept alive, and what they hold.
struct CorpusTensors {
  Tensor tokens;
  Tensor offsets;
  Tensor domains;
  Corpus corpus;
  std::vector<int64_t> sizes;  // documents of each domain
};

inline CorpusTensors corpus_of(const char* op, const Tensor& tokens, const Tensor& offsets,
                               const Tensor& domains) {
  const bool narrow = tokens.scalar_type() == ScalarType::UInt16;
  const ScalarType type = narrow ? ScalarType::UInt16 : ScalarType::Int;
  const Tensor t = checked(op, "tokens", tokens, type, {-1});
  const Tensor o = checked(op, "offsets", offsets, ScalarType::Long, {-1});
  const Tensor d = checked(op, "domains", domains, ScalarType::Long, {-1});
  require(o.size(0) >= 1 && d.size(0) >= 1, op, ": got offsets ", show(shape_of(o)),
          " and domains ", show(shape_of(d)), "; wanted (N + 1,) and (D + 1,)");
  const int64_t documents = o.size(0) - 1;
  const auto* starts = d.const_data_ptr<int64_t>();
  std::vector<int64_t> sizes = domain_sizes(op, starts, d.size(0) - 1, documents);
  const Corpus corpus = {t.const_data_ptr(),
                         narrow,
                         t.size(0),
                         o.const_data_ptr<int64_t>(),
                         documents,
                         starts,
                         static_cast<int64_t>(sizes.size())};
  return {t, o, d, corpus, sizes};
}

}  // namespace jobs_bench
