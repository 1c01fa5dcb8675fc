#pragma once

#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include "tensors.h"

// What every CUDA operator needs of torch beyond its tensors: their device made current, and the
// stream to launch on. Nothing of CUDA is included or linked here.

namespace jobs_bench {

// The text of a cudaError, of csrc/cuda/error.cu.
const char* cuda_error_text(int error);

// torch's current stream of a device. The stable headers hand out no native stream before torch
// 2.13, but the C shim under them does in every CUDA build; it lies in a library that the CPU build
// lacks, and is therefore looked up among what torch has loaded, not linked.
inline void* current_stream(int32_t device) {
  using Lookup = AOTITorchError (*)(int32_t, void**);
  static const auto lookup = [] {
    void* torch_cuda = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
    return torch_cuda == nullptr ? nullptr
                                 : reinterpret_cast<Lookup>(
                                       dlsym(torch_cuda, "aoti_torch_get_current_cuda_stream"));
  }();
  require(lookup != nullptr, "got a CUDA tensor; wanted a CUDA build of torch, which has streams");
  void* stream = nullptr;
  require(lookup(device, &stream) == 0, "torch gave no current stream of CUDA device ", device);
  return stream;
}

// While it lives, the device of `like` is the current one.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& like)
      : guard_(like.get_device_index()), stream(current_stream(like.get_device_index())) {}

  // Throws what a launch returned, unless it is 0.
  static void check(const char* op, int error) {
    if (error != 0) require(false, op, ": CUDA error ", error, ", ", cuda_error_text(error));
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;

 public:
  void* const stream;  // cudaStream_t
};

}  // namespace jobs_bench
