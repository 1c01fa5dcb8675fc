#pragma once

#include <cstdint>
#include <vector>

#include "coordinate_search.h"

// Maximising an acquisition function over a design from many starts: the best of the scored
// starts, far enough apart, are improved in turns over continuous columns (ascent.h) and levels
// (coordinate_search.h). Serial; the operator shares the starts among threads.

namespace jobs_bench {

// Which of R scored rows to improve: up to `restarts` indices, best first. A row is passed over
// where a better one that was taken is close to it (and has its levels), unless rows run short.
// Rows of value -inf come last. Ties: the first.
std::vector<int64_t> choose_starts(const Design& design, int64_t count, const double* rows,
                                   const double* values, int64_t restarts);

// Improves rows (count, d) of `values` (count) in place, together: never lowers a value. max_iter:
// iterations of each ascent; max_turns: ascents and coordinate searches of each row.
void improve(const Design& design, const Objective& objective, int64_t count, int64_t max_iter,
             int64_t max_turns, double* rows, double* values);

}  // namespace jobs_bench
