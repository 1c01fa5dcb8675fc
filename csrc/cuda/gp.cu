#include "gp.h"

#include <cuda_runtime_api.h>

#include <algorithm>

namespace jobs_bench {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = int64_t{1} << 30;

// One piece of a stage a block, in turns where there are more than a grid can have.
template <class Task>
__global__ void __launch_bounds__(kThreads)
    run_stage(Task task, typename Task::Stage stage, int64_t step, bool fast) {
  extern __shared__ double memory[];
  const int64_t pieces = task.pieces(stage, step);
  for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
    task.run(BlockTeam{}, TileScratch{memory}, fast ? memory + kScratch : nullptr, stage, step,
             piece);
    __syncthreads();
  }
}

struct CudaDevice {
  cudaStream_t stream;
  int error = 0;

  explicit CudaDevice(void* stream_) : stream(static_cast<cudaStream_t>(stream_)) {}

  void note(cudaError_t e) {
    if (error == 0) error = static_cast<int>(e);
  }

  int64_t fast() {
    int device = 0, bytes = 0;
    note(cudaGetDevice(&device));
    note(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return bytes / static_cast<int64_t>(sizeof(double)) - kScratch;
  }

  template <class Task>
  void launch(const Task& task, typename Task::Stage stage, int64_t step, bool fast_square) {
    const int64_t pieces = task.pieces(stage, step);
    if (error != 0 || pieces == 0) return;
    int64_t doubles = kScratch;
    if constexpr (std::is_same_v<Task, GpRegression>) {
      if (fast_square) doubles += GpRegression::square_room(task.n);
    }
    const size_t bytes = doubles * sizeof(double);
    note(cudaFuncSetAttribute(run_stage<Task>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes)));
    const auto blocks = static_cast<unsigned>(std::min(pieces, kMostBlocks));
    run_stage<Task><<<blocks, kThreads, bytes, stream>>>(task, stage, step, fast_square);
    note(cudaGetLastError());
  }

  void read(double* to, const double* from, int64_t count) {
    if (error != 0 || count == 0) return;
    note(cudaMemcpyAsync(to, from, count * sizeof(double), cudaMemcpyDeviceToHost, stream));
    note(cudaStreamSynchronize(stream));
  }
};

}  // namespace

int send_plan(const PlanCode& code, void* to, void* stream) {
  std::vector<char> bytes(code.bytes());
  code.write(bytes.data());
  // pageable memory: it is copied out before the call returns
  return static_cast<int>(cudaMemcpyAsync(to, bytes.data(), bytes.size(), cudaMemcpyHostToDevice,
                                          static_cast<cudaStream_t>(stream)));
}

int launch_regression(const GpRegression& task, double* state, void* stream) {
  CudaDevice device(stream);
  run_regression(device, task, state);
  return device.error;
}

int launch_covariance(const GpCovariance& task, void* stream) {
  CudaDevice device(stream);
  run_covariance(device, task);
  return device.error;
}

int launch_query(const GpQuery& task, double* state, void* stream) {
  CudaDevice device(stream);
  run_query(device, task, state);
  return device.error;
}

}  // namespace jobs_bench
