#pragma once

#include <cstdint>
#include <vector>

// The set that an acquisition function is maximised over: rows of d numbers, of which some are
// mixtures, some have levels, and some matter only beside certain levels. No torch.

namespace jobs_bench {

// Columns [start, stop) sum to 1. roots: searched in their square roots.
struct MixtureColumns {
  int64_t start, stop;
  bool roots;
};

// `columns` are searched where `column` has one of `levels`, and rest elsewhere.
struct ActiveWhere {
  int64_t column;
  std::vector<double> levels;
  std::vector<int64_t> columns;
};

// At least `least` of `columns`, flags of levels 0 and 1, are 1.
struct AtLeast {
  int64_t least;
  std::vector<int64_t> columns;
};

struct Design {
  int64_t d = 0;
  std::vector<double> low, high, rest;      // (d)
  std::vector<std::vector<double>> levels;  // (d), ascending; empty: any number of [low, high]
  std::vector<char> ordered;                // (d) levels are steps on a scale, not mere names
  std::vector<MixtureColumns> mixtures;
  std::vector<ActiveWhere> conditions;  // parents before their children
  std::vector<AtLeast> quotas;

  // bounds: (3, d) low, high, rest. levels: all columns' levels, one after another.
  // code: (number of levels, ordered) of every column; then the number of mixtures and (start,
  // stop, roots) of each; then the number of conditions and (column, number, indices of levels...,
  // number, columns...) of each; then the number of quotas and (least, number, columns...) of each.
  // Throws std::runtime_error where that is not a design, or one with no rows.
  static Design parse(int64_t d, const double* bounds, const double* levels, int64_t level_count,
                      const int64_t* code, int64_t size);

  // Which columns are searched beside the levels of `row`: those whose conditions hold.
  std::vector<char> active(const double* row) const;

  // Puts the inactive columns of `row` to rest.
  void settle(double* row) const;

  // Throws std::runtime_error, naming row `index`, where a row is not one of this design.
  void check(const double* row, int64_t index) const;
};

}  // namespace jobs_bench
