#pragma once

#define TORCH_TARGET_VERSION 0x020b000000000000  // torch 2.11, the oldest that it runs with

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "../core/require.h"

// What every operator does with its tensors, on torch's stable ABI: check, allocate, share the work
// among threads. The only header here that knows torch; cpu/ and cuda/ take raw pointers.

namespace jobs_bench {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Ints = std::vector<int64_t>;

// Sizes as Python writes them: (2, 3).
inline std::string show(const Ints& sizes) {
  std::string out = "(";
  for (size_t k = 0; k < sizes.size(); ++k) {
    out += (k > 0 ? ", " : "") + (sizes[k] < 0 ? std::string("any") : std::to_string(sizes[k]));
  }
  return out + (sizes.size() == 1 ? ",)" : ")");
}

inline Ints shape_of(const Tensor& t) {
  const auto sizes = t.sizes();
  return Ints(sizes.begin(), sizes.end());
}

// `t`, contiguous, of type and shape; -1 is free, and where `shared`, a leading 1 will do.
inline Tensor checked(const char* op, const char* name, const Tensor& t, ScalarType type,
                      const Ints& shape, bool shared = false) {
  const Ints got = shape_of(t);
  bool fits = got.size() == shape.size();
  for (size_t k = 0; fits && k < got.size(); ++k) {
    fits = shape[k] < 0 || got[k] == shape[k] || (k == 0 && shared && got[0] == 1);
  }
  require(fits, op, ": got ", name, " ", show(got), "; wanted ", show(shape),
          shared ? " or a leading 1" : "");
  require(t.scalar_type() == type, op, ": got ", name, " of ",
          torch::headeronly::toString(t.scalar_type()), "; wanted ",
          torch::headeronly::toString(type));
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// A fresh tensor on the device of `like`; its numbers are whatever was there.
inline Tensor empty(const Tensor& like, const Ints& shape, ScalarType type) {
  return torch::stable::new_empty(like, {shape.data(), shape.size()}, type);
}

inline Tensor zeros(const Tensor& like, const Ints& shape, ScalarType type) {
  return torch::stable::new_zeros(like, {shape.data(), shape.size()}, type);
}

// f(begin, end) over [0, n) on torch's threads, `grain` or more at a time. What one of them throws
// is thrown here, which torch's own loop would swallow.
template <class F>
void share(int64_t n, int64_t grain, const F& f) {
  std::exception_ptr first;
  std::mutex lock;
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    try {
      f(begin, end);
    } catch (...) {
      const std::lock_guard<std::mutex> guard(lock);
      if (!first) first = std::current_exception();
    }
  });
  if (first) std::rethrow_exception(first);
}

}  // namespace jobs_bench
