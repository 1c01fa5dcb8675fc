#pragma once

#include "gp_run.h"

// The Gaussian process operators on a CUDA device: everything in a task but its plan points to
// memory there, of the sizes that gp_tasks.h gives. They run on `stream`, a cudaStream_t; where
// `state` is wanted they wait for it. Each returns a cudaError as int.
// Sums are in a fixed order: the same bits at every call and on every device.

namespace jobs_bench {

// Sends a plan's numbers; `to`: PlanCode::bytes() there.
int send_plan(const PlanCode& code, void* to, void* stream);

int launch_regression(const GpRegression& task, double* state, void* stream);
int launch_covariance(const GpCovariance& task, void* stream);
int launch_query(const GpQuery& task, double* state, void* stream);

}  // namespace jobs_bench
