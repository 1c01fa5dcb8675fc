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
  std::vector<int64_t> sizes(d.size(0) - 1);
  for (size_t k = 0; k < sizes.size(); ++k) {
    sizes[k] = starts[k + 1] - starts[k];
    require(starts[k] >= 0 && sizes[k] >= 0 && starts[k + 1] <= documents, op, ": domain ", k,
            " is said to hold documents [", starts[k], ", ", starts[k + 1],
            "); wanted them in [0, ", documents, ")");
  }
  const Corpus corpus = {t.const_data_ptr(),
                         narrow,
                         t.size(0),
                         o.const_data_ptr<int64_t>(),
                         documents,
                         starts,
                         static_cast<int64_t>(sizes.size())};
  return {t, o, d, corpus, sizes};
}

// Fails where a number does not fit into the ids.
inline void check_row(const char* op, int64_t length, int64_t pad, bool wide) {
  require(length >= 1 && length <= INT32_MAX, op, ": got length=", length, "; wanted [1, 2^31)");
  require(wide || (pad >= INT32_MIN && pad <= INT32_MAX), op, ": got pad=", pad,
          "; wanted a 32-bit number");
}

inline Table table_at(int64_t* table, int64_t all, int64_t at) {
  return {table + at, table + all + at, table + 2 * all + at};
}

}  // namespace jobs_bench
