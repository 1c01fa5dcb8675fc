#include "mix.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "../core/mix_image.h"
#include "../core/mix_pack.h"

namespace jobs_bench {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int64_t kColumns = 1024;    // of a row that are worth a block
constexpr int64_t kBlocks = 1 << 20;  // a grid's; what is more goes round

__global__ void indices_kernel(MixImage image, int64_t n, int64_t* domain, int64_t* row) {
  const int64_t all = image.streams * n, stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all; i += stride) {
    const int64_t k = i / n;
    const StreamView stream = image_stream(image.numbers, image.streams, image.domains, k);
    const Drawn drawn = draw_at(stream, image_position(image.numbers, k) + i - k * n);
    domain[i] = drawn.domain;
    row[i] = drawn.row;
  }
}

// Length, domain and document at each position.
__global__ void table_kernel(MixImage image, CudaCorpus corpus, int64_t n, int64_t length,
                             int64_t* table) {
  const int64_t all = image.streams * n, stride = int64_t{gridDim.x} * blockDim.x;
  const int64_t* starts = image_starts(image.numbers, image.streams, image.domains);
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all; i += stride) {
    const int64_t k = i / n;
    const StreamView stream = image_stream(image.numbers, image.streams, image.domains, k);
    const Drawn drawn = draw_at(stream, image_position(image.numbers, k) + i - k * n);
    const int64_t document = starts[drawn.domain] + drawn.row;
    const int64_t begin = corpus.offsets[document], end = corpus.offsets[document + 1];
    const bool inside = begin >= 0 && begin <= end && end <= corpus.size;
    table[i] = inside ? kept(begin, end, length) : 0;
    table[all + i] = drawn.domain;
    table[2 * all + i] = document;
  }
}

// A warp a stream: its lanes fetch lengths together, and each goes through all of them in order.
__global__ void fit_kernel(const int64_t* lengths, CudaRows rows) {
  const int64_t k = blockIdx.x;
  int32_t* documents = rows.documents + k * rows.rows;
  int64_t* first = rows.first + k * rows.rows;
  for (int64_t r = threadIdx.x; r < rows.rows; r += kWarp) {
    documents[r] = 0;
    first[r] = 0;
  }
  __syncwarp();
  NextFit fit{rows.rows, rows.length};
  int64_t row = -1, count = 0;  // of the row that is being filled; lane 0 writes
  bool room = true;
  for (int64_t base = 0; room && base < rows.n; base += kWarp) {
    const int64_t mine = base + threadIdx.x < rows.n ? lengths[k * rows.n + base + threadIdx.x] : 0;
    for (int lane = 0; room && lane < kWarp && base + lane < rows.n; ++lane) {
      const long long wanted = __shfl_sync(0xFFFFFFFFu, static_cast<long long>(mine), lane);
      room = fit.place(wanted);
      if (room && fit.row != row) {
        row = fit.row;
        count = 0;
        if (threadIdx.x == 0) first[row] = k * rows.n + base + lane;
      }
      ++count;
      if (room && threadIdx.x == 0) documents[row] = static_cast<int32_t>(count);
    }
  }
}

// Blocks (row, part): the documents of a row one after another, then padding; a part of its
// columns.
template <class In, class Out>
__global__ void fill_kernel(CudaCorpus corpus, CudaRows rows, int64_t streams) {
  const int64_t all = streams * rows.n, count = streams * rows.rows;
  const int64_t low = rows.length * blockIdx.y / gridDim.y;
  const int64_t high = rows.length * (blockIdx.y + 1) / gridDim.y;
  const auto* tokens = static_cast<const In*>(corpus.tokens);
  const bool packed = rows.layout != nullptr;
  for (int64_t r = blockIdx.x; r < count; r += gridDim.x) {
    auto* ids = static_cast<Out*>(rows.ids) + r * rows.length;
    int32_t* position = packed ? rows.layout + r * rows.length : nullptr;
    int32_t* segment = packed ? position + count * rows.length : nullptr;
    const int64_t first = packed ? rows.first[r] : r;
    const int64_t documents = packed ? rows.documents[r] : 1;
    int64_t at = 0;
    for (int64_t i = 0; i < documents && at < high; ++i) {
      const int64_t next = at + rows.table[first + i];
      const In* from = tokens + corpus.offsets[rows.table[2 * all + first + i]];
      for (int64_t t = max(at, low) + threadIdx.x; t < min(next, high); t += blockDim.x) {
        ids[t] = static_cast<Out>(from[t - at]);
        if (packed) {
          position[t] = static_cast<int32_t>(t - at);
          segment[t] = static_cast<int32_t>(i + 1);
        }
      }
      at = next;
    }
    for (int64_t t = max(at, low) + threadIdx.x; t < high; t += blockDim.x) {
      ids[t] = static_cast<Out>(rows.pad);
      if (packed) position[t] = segment[t] = 0;
    }
  }
}

unsigned blocks_for(int64_t n, int64_t each) {
  return static_cast<unsigned>(std::min(kBlocks, (n + each - 1) / each));
}

int fill(const MixImage& image, const CudaCorpus& corpus, const CudaRows& rows,
         cudaStream_t stream) {
  const int64_t count = image.streams * rows.rows;
  if (count == 0) return cudaSuccess;
  const auto kernel =
      corpus.narrow ? (rows.wide ? fill_kernel<uint16_t, int64_t> : fill_kernel<uint16_t, int32_t>)
                    : (rows.wide ? fill_kernel<int32_t, int64_t> : fill_kernel<int32_t, int32_t>);
  const int64_t parts = std::min<int64_t>(16, (rows.length + kColumns - 1) / kColumns);
  const dim3 grid(blocks_for(count, 1), static_cast<unsigned>(parts));
  kernel<<<grid, kThreads, 0, stream>>>(corpus, rows, image.streams);
  return cudaGetLastError();
}

int draw_table(const MixImage& image, const CudaCorpus& corpus, const CudaRows& rows,
               cudaStream_t stream) {
  const int64_t all = image.streams * rows.n;
  if (all == 0) return cudaSuccess;
  table_kernel<<<blocks_for(all, kThreads), kThreads, 0, stream>>>(image, corpus, rows.n,
                                                                   rows.length, rows.table);
  return cudaGetLastError();
}

}  // namespace

int launch_mix_indices(MixImage image, int64_t n, int64_t* domain, int64_t* row, void* stream) {
  if (image.streams * n == 0) return cudaSuccess;
  indices_kernel<<<blocks_for(image.streams * n, kThreads), kThreads, 0,
                   static_cast<cudaStream_t>(stream)>>>(image, n, domain, row);
  return cudaGetLastError();
}

int launch_mix_batch(MixImage image, CudaCorpus corpus, CudaRows rows, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int error = draw_table(image, corpus, rows, on);
  return error != cudaSuccess ? error : fill(image, corpus, rows, on);
}

int launch_mix_pack(MixImage image, CudaCorpus corpus, CudaRows rows, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int error = draw_table(image, corpus, rows, on);
  if (error != cudaSuccess || image.streams * rows.rows == 0) return error;
  fit_kernel<<<static_cast<unsigned>(image.streams), kWarp, 0, on>>>(rows.table, rows);
  const int fitted = cudaGetLastError();
  return fitted != cudaSuccess ? fitted : fill(image, corpus, rows, on);
}

}  // namespace jobs_bench
