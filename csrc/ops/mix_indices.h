#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace jobs_bench {

// (domain, row), each (K, n) int64, of n positions of K training streams.
//   weights  (K, D) int64, contiguous or not, rows summing to 2^30
//   sizes    (D,) int64, above 0 where any weight is
//   seeds    K numbers of [0, 2^63)
//   starts   K positions of [0, 2^60)
// Deterministic: the same bits as the reference in jobs_bench/ops/_mix.py at any number of threads.
// Fresh outputs, no aliasing. Arguments are checked in Python, shapes once more here.
std::tuple<at::Tensor, at::Tensor> mix_indices_cpu(const at::Tensor& weights,
                                                   const at::Tensor& sizes, at::IntArrayRef seeds,
                                                   at::IntArrayRef starts, int64_t n,
                                                   bool stratified);

}  // namespace jobs_bench
