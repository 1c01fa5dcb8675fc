#pragma once

#include <cstdint>

// Launchers of the mixture operators: raw device pointers, no torch. Each returns a cudaError_t,
// works on `stream` (a cudaStream_t) of the current device, and does nothing for no rows.
// The arithmetic is that of core/, on integers: the same bits as on the CPU. A corpus that says a
// document lies outside of its tokens gives an empty document here, as a kernel cannot raise.

namespace jobs_bench {

// What core/mix_image.h describes, in device memory.
struct MixImage {
  const int64_t* numbers;
  int64_t streams;
  int64_t domains;
};

struct CudaCorpus {
  const void* tokens;  // uint16 where narrow, else int32
  bool narrow;
  int64_t size;  // tokens
  const int64_t* offsets;
};

// What is written; see csrc/ops/mix_batch.cpp and mix_pack.cpp.
struct CudaRows {
  void* ids;
  bool wide;
  int32_t* layout;     // null where padded
  int32_t* documents;  // null where padded
  int64_t* first;      // (K, rows) scratch; null where padded
  int64_t* table;
  int64_t n;
  int64_t rows;
  int64_t length;
  int64_t pad;
};

// Domain and row, (K, n) each.
int launch_mix_indices(MixImage image, int64_t n, int64_t* domain, int64_t* row, void* stream);

int launch_mix_batch(MixImage image, CudaCorpus corpus, CudaRows rows, void* stream);

int launch_mix_pack(MixImage image, CudaCorpus corpus, CudaRows rows, void* stream);

}  // namespace jobs_bench
