#include "../cpu/gp_simd.h"
#include "tensors.h"

namespace jobs_bench {
namespace {

// gp_use_lanes, for tests that compare instruction sets.
bool gp_lanes(int64_t lanes) { return gp_use_lanes(lanes); }

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CompositeExplicitAutograd, m) {
  m.impl("gp_lanes", TORCH_BOX(&gp_lanes));
}

}  // namespace
}  // namespace jobs_bench
