#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <ostream>
#include <vector>

#include "../core/require.h"

// What every operator does with its tensors, on torch's stable ABI: check, allocate, share the work
// among threads. The only header here that knows torch; cpu/ and cuda/ take raw pointers.

namespace jobs_bench {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Ints = std::vector<int64_t>;

// Sizes as Python writes them, (2, 3), when they are written at all: for messages of `require`.
struct Shown {
  const Ints& sizes;
};

inline Shown show(const Ints& sizes) { return {sizes}; }

inline std::ostream& operator<<(std::ostream& out, const Shown& shown) {
  out << "(";
  for (size_t k = 0; k < shown.sizes.size(); ++k) {
    out << (k > 0 ? ", " : "");
    shown.sizes[k] < 0 ? out << "any" : out << shown.sizes[k];
  }
  return out << (shown.sizes.size() == 1 ? ",)" : ")");
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

// A fresh contiguous tensor on the device of `like`; its numbers are whatever was there. Through
// the C interface below torch::stable::new_empty, which looks its operator up by name at each call.
inline Tensor empty(const Tensor& like, const Ints& shape, ScalarType type) {
  Ints strides(shape.size());
  int64_t stride = 1;
  for (size_t k = shape.size(); k-- > 0; stride *= std::max<int64_t>(shape[k], 1)) {
    strides[k] = stride;
  }
  int32_t device = 0, index = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &index));
  const int32_t code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(type));
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(shape.size()), shape.data(),
                                                  strides.data(), code, device, index, &made));
  return Tensor(made);
}

inline Tensor zeros(const Tensor& like, const Ints& shape, ScalarType type) {
  Tensor made = empty(like, shape, type);
  if (!made.is_cpu()) return torch::stable::zero_(made);
  std::memset(made.mutable_data_ptr(), 0, made.numel() * made.element_size());
  return made;
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
