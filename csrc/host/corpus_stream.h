#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../cpu/mix_batch.h"
#include "../cpu/mix_streams.h"

// K training streams over a corpus held in arrays, for loops that cannot afford a dispatcher.

namespace jobs_bench {

// Written into by batch() and pack(); on the host, C-contiguous and writable.
//   ids        (K, n or rows, length) int64 or int32
//   table      (3, K, n) int64: tokens that are kept, domain, document
//   layout     (2, K, rows, length) int32: position in the document; document of the row from 1
//   documents  (K, rows) int32
using Out = pybind11::array;

// What the operators mix_batch and mix_pack compute, the same bits, into arrays of the caller's.
// It keeps the corpus's arrays alive and checks them again as documents are drawn, so that a corpus
// that was changed underneath gives an error and not a crash. No call changes the stream; the
// calls of several threads do not meet, and the GIL is released while rows are written.
class CorpusStream {
 public:
  // tokens (T,) uint16 or int32; offsets (N + 1,), domains (D + 1,) and weights (K, D) int64;
  // seeds and caps as cpu/mix_streams.h has them. Throws std::runtime_error where they do not fit.
  CorpusStream(pybind11::array tokens, pybind11::array offsets, const pybind11::array& domains,
               const pybind11::array& weights, Numbers seeds, const Numbers& caps, bool stratified);

  CorpusStream(const CorpusStream&) = delete;
  CorpusStream& operator=(const CorpusStream&) = delete;

  // The padded rows at positions step * n .. of every stream.
  void batch(int64_t step, int64_t pad, Out ids, Out table) const;

  // The packed rows of the same documents; returns how many of all K * n found room.
  int64_t pack(int64_t step, int64_t pad, Out ids, Out layout, Out documents, Out table) const;

 private:
  std::vector<int64_t> starts_at(int64_t step, int64_t n) const;

  pybind11::array tokens_, offsets_;
  std::vector<int64_t> domains_, sizes_;
  Numbers seeds_;
  std::vector<Stream> streams_;
  std::vector<StreamView> views_;
  Corpus corpus_;
};

}  // namespace jobs_bench
