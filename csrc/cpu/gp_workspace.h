#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace jobs_bench {

// Scratch memory, kept between evaluations: nothing is allocated once the largest size has been
// seen. One thread at a time.
class GpWorkspace {
 public:
  // Forgets what was taken and makes room for `numbers` of them, in pieces at most `pieces`.
  void reset(int64_t numbers, int64_t pieces) {
    const int64_t wanted = numbers + pieces * kAlign;
    if (wanted > room_) {
      memory_.reset();
      memory_.reset(
          static_cast<double*>(std::aligned_alloc(64, static_cast<size_t>((wanted + 7) / 8 * 64))));
      room_ = memory_ ? wanted : 0;
      if (!memory_) throw std::bad_alloc();
    }
    used_ = 0;
  }

  // That many numbers, of any value, on a cache line's edge.
  double* take(int64_t count) {
    double* out = memory_.get() + used_;
    used_ += (count + kAlign - 1) / kAlign * kAlign;
    if (used_ > room_) throw std::bad_alloc();
    return out;
  }

 private:
  static constexpr int64_t kAlign = 8;
  struct Free {
    void operator()(double* p) const { std::free(p); }
  };
  std::unique_ptr<double, Free> memory_;
  int64_t room_ = 0, used_ = 0;
};

}  // namespace jobs_bench
