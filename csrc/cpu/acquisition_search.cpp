#include "acquisition_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ascent.h"

namespace jobs_bench {
namespace {

constexpr double kApart = 0.15;      // root mean square over the columns, in units of their range
constexpr double kTolerance = 1e-9;  // relative gain worth a change of level
constexpr double kTurnGain = 1e-7;   // relative gain worth another turn
constexpr int64_t kLevelSteps = 64;
constexpr double kSmallRoot = 2e-4;  // square roots that ascents leave where a weight is 0

bool close(const Design& design, const double* a, const double* b) {
  double sum = 0.0;
  for (int64_t i = 0; i < design.d; ++i) {
    if (!design.levels[i].empty() && a[i] != b[i]) return false;
    const double range = design.high[i] - design.low[i];
    const double gap = range > 0.0 ? (a[i] - b[i]) / range : 0.0;
    sum += gap * gap;
  }
  return sum < kApart * kApart * static_cast<double>(design.d);
}

// What an ascent leaves by rounding: columns put on bounds and to rest that they hardly miss, and
// weights that are 0 but for the floor of their square roots made 0.
void sweep(const Design& design, double* row) {
  for (int64_t i = 0; i < design.d; ++i) {
    if (design.levels[i].empty()) row[i] = std::clamp(row[i], design.low[i], design.high[i]);
  }
  design.settle(row);
  for (const auto& m : design.mixtures) {
    if (!m.roots) continue;
    double sum = 0.0, largest = 0.0;
    int64_t at = m.start;
    for (int64_t i = m.start; i < m.stop; ++i) {
      if (design.low[i] == 0.0 && row[i] <= kSmallRoot * kSmallRoot) row[i] = 0.0;
      sum += row[i];
      const double room = design.high[i] - row[i];
      if (row[i] > largest && room > kSmallRoot) {
        largest = row[i];
        at = i;
      }
    }
    row[at] = std::clamp(row[at] + 1.0 - sum, design.low[at], design.high[at]);
  }
}

// Ascends from every row with `open`; all trial rows of a round are one call of the objective.
void ascend(const Design& design, const Objective& objective, const std::vector<int64_t>& open,
            int64_t max_iter, double* rows, double* values) {
  const int64_t d = design.d;
  std::vector<Ascent> ascents;
  ascents.reserve(open.size());
  for (const int64_t i : open) ascents.emplace_back(design, rows + i * d, max_iter);
  std::vector<size_t> busy(open.size());
  std::iota(busy.begin(), busy.end(), size_t{0});
  std::vector<double> X(open.size() * d), value(open.size()), gradient(open.size() * d);
  while (!busy.empty()) {
    for (size_t k = 0; k < busy.size(); ++k) std::copy_n(ascents[busy[k]].trial(), d, &X[k * d]);
    objective(static_cast<int64_t>(busy.size()), X.data(), value.data(), gradient.data());
    std::vector<size_t> still;
    for (size_t k = 0; k < busy.size(); ++k) {
      if (ascents[busy[k]].advance(value[k], &gradient[k * d])) still.push_back(busy[k]);
    }
    busy = std::move(still);
  }
  for (size_t k = 0; k < open.size(); ++k) {
    double* row = rows + open[k] * d;
    if (!(ascents[k].value() > values[open[k]])) continue;
    std::copy_n(ascents[k].row(), d, row);
    values[open[k]] = ascents[k].value();
    std::vector<double> swept(row, row + d);
    sweep(design, swept.data());
    double clean;
    objective(1, swept.data(), &clean, nullptr);
    if (clean >= values[open[k]] - kTurnGain * std::max(1.0, std::abs(values[open[k]]))) {
      std::copy_n(swept.data(), d, row);
      values[open[k]] = clean;
    }
  }
}

bool ascends(const Design& design) {
  for (int64_t i = 0; i < design.d; ++i) {
    if (design.levels[i].empty() && design.low[i] < design.high[i]) return true;
  }
  return false;
}

}  // namespace

std::vector<int64_t> choose_starts(const Design& design, int64_t count, const double* rows,
                                   const double* values, int64_t restarts) {
  std::vector<int64_t> order(static_cast<size_t>(count)), taken, passed;
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  for (const int64_t i : order) {
    if (static_cast<int64_t>(taken.size()) == restarts) break;
    const bool known = std::any_of(taken.begin(), taken.end(), [&](int64_t j) {
      return close(design, rows + i * design.d, rows + j * design.d);
    });
    (known ? passed : taken).push_back(i);
  }
  for (size_t k = 0; k < passed.size() && static_cast<int64_t>(taken.size()) < restarts; ++k) {
    taken.push_back(passed[k]);
  }
  return taken;
}

void improve(const Design& design, const Objective& objective, int64_t count, int64_t max_iter,
             int64_t max_turns, double* rows, double* values) {
  const bool continuous = ascends(design);
  std::vector<int64_t> open(static_cast<size_t>(count));
  std::iota(open.begin(), open.end(), int64_t{0});
  for (int64_t turn = 0; turn < max_turns && !open.empty(); ++turn) {
    const std::vector<double> before(values, values + count);
    if (continuous) ascend(design, objective, open, max_iter, rows, values);
    std::vector<int64_t> still;
    for (const int64_t i : open) {
      const bool moved = coordinate_search(design, objective, kLevelSteps, kTolerance,
                                           rows + i * design.d, values + i);
      const double least = kTurnGain * std::max(1.0, std::abs(values[i]));
      if (moved && continuous && values[i] > before[i] + least) still.push_back(i);
    }
    open = std::move(still);
  }
}

}  // namespace jobs_bench
