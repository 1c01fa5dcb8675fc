#include <cuda_runtime_api.h>

namespace jobs_bench {

// What a cudaError is called, for messages; see csrc/ops/device.h.
const char* cuda_error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace jobs_bench
