#include "coordinate_search.h"

#include <algorithm>
#include <cmath>

namespace jobs_bench {
namespace {

constexpr int64_t kMostTried = 32;

int64_t nearest_level(const std::vector<double>& levels, double x) {
  const auto closer = [&](double a, double b) { return std::abs(a - x) < std::abs(b - x); };
  return std::min_element(levels.begin(), levels.end(), closer) - levels.begin();
}

std::vector<int64_t> steps_from(int64_t at, int64_t count, bool ordered) {
  std::vector<int64_t> to;
  if (!ordered || count <= kMostTried) {
    for (int64_t j = 0; j < count; ++j) {
      if (j != at) to.push_back(j);
    }
    return to;
  }
  for (int64_t jump = 1; jump < count; jump *= 2) {
    if (at - jump >= 0) to.push_back(at - jump);
    if (at + jump < count) to.push_back(at + jump);
  }
  for (const int64_t end : {int64_t{0}, count - 1}) {
    if (end != at && std::find(to.begin(), to.end(), end) == to.end()) to.push_back(end);
  }
  return to;
}

int64_t chosen(const AtLeast& quota, const double* row) {
  int64_t count = 0;
  for (const int64_t i : quota.columns) count += row[i] > 0.5;
  return count;
}

}  // namespace

std::vector<double> level_neighbours(const Design& design, const double* row) {
  std::vector<double> near;
  const auto searched = design.active(row);
  const auto add = [&](const std::vector<double>& changed) {
    near.insert(near.end(), changed.begin(), changed.end());
    design.settle(&near[near.size() - static_cast<size_t>(design.d)]);
  };
  std::vector<double> changed(row, row + design.d);
  for (int64_t i = 0; i < design.d; ++i) {
    const auto& levels = design.levels[i];
    if (!searched[i] || levels.size() < 2) continue;
    const auto count = static_cast<int64_t>(levels.size());
    for (const int64_t j : steps_from(nearest_level(levels, row[i]), count, design.ordered[i])) {
      changed[i] = levels[j];
      const bool allowed =
          std::all_of(design.quotas.begin(), design.quotas.end(), [&](const AtLeast& quota) {
            return chosen(quota, changed.data()) >= std::min(quota.least, chosen(quota, row));
          });
      if (allowed) add(changed);
    }
    changed[i] = row[i];
  }
  for (const auto& quota : design.quotas) {
    if (chosen(quota, row) > quota.least) continue;
    for (const int64_t from : quota.columns) {
      for (const int64_t to : quota.columns) {
        if (!searched[from] || !searched[to] || row[from] < 0.5 || row[to] > 0.5) continue;
        if (design.levels[from].size() < 2 || design.levels[to].size() < 2) continue;
        changed[from] = 0.0;
        changed[to] = 1.0;
        add(changed);
        changed[from] = row[from];
        changed[to] = row[to];
      }
    }
  }
  return near;
}

bool coordinate_search(const Design& design, const Objective& objective, int64_t max_steps,
                       double tolerance, double* row, double* value) {
  bool moved = false;
  for (int64_t step = 0; step < max_steps; ++step) {
    const auto near = level_neighbours(design, row);
    const auto count = static_cast<int64_t>(near.size()) / design.d;
    if (count == 0) break;
    std::vector<double> values(static_cast<size_t>(count));
    objective(count, near.data(), values.data(), nullptr);
    const auto best = std::max_element(values.begin(), values.end());
    const double least = std::isfinite(*value) ? tolerance * std::max(1.0, std::abs(*value)) : 0.0;
    if (!(*best > *value + least)) break;
    std::copy_n(&near[(best - values.begin()) * design.d], design.d, row);
    *value = *best;
    moved = true;
  }
  return moved;
}

}  // namespace jobs_bench
