#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "design.h"

// Local maximisation over the columns with levels, one change at a time.

namespace jobs_bench {

// Writes the values of X (q, d) to value (q) and, unless null, their gradients to gradient (q, d).
// The numbers of a row do not depend on its neighbours.
using Objective = std::function<void(int64_t q, const double* X, double* value, double* gradient)>;

// Rows, (count, d) one after another, that differ from `row` in one column's level: any other one,
// or, of ordered columns with more than 32, those 1, 2, 4, ... steps away and the outermost. Where
// a quota allows no flag to be dropped, one flag moves. Inactive columns do not count, and are
// settled.
std::vector<double> level_neighbours(const Design& design, const double* row);

// Moves `row`, of value `value`, to the best neighbour until none gains more than `tolerance`
// (relative) or `max_steps` are done. Ties: the first. Whether it moved.
bool coordinate_search(const Design& design, const Objective& objective, int64_t max_steps,
                       double tolerance, double* row, double* value);

}  // namespace jobs_bench
