#include "design.h"

#include <algorithm>
#include <cmath>

#include "../core/require.h"

namespace jobs_bench {
namespace {

constexpr const char* kOp = "acquisition_search";
constexpr double kSlack = 1e-6;  // of bounds, levels and sums in what comes in

// Reads a code one number after another.
class Reader {
 public:
  Reader(const int64_t* code, int64_t size) : code_(code), size_(size) {}

  int64_t next() {
    require(at_ < size_, kOp, ": got a design code of ", size_, " numbers; wanted more");
    return code_[at_++];
  }

  int64_t count() { return below(size_ + 1, "count"); }

  int64_t below(int64_t end, const char* what) {
    const int64_t x = next();
    require(x >= 0 && x < end, kOp, ": got ", what, " ", x, " in the design; wanted one of [0, ",
            end, ")");
    return x;
  }

  std::vector<int64_t> several(int64_t end, const char* what) {
    std::vector<int64_t> found(static_cast<size_t>(count()));
    for (auto& x : found) x = below(end, what);
    return found;
  }

  void finish() const {
    require(at_ == size_, kOp, ": got a design code of ", size_, " numbers; wanted ", at_);
  }

 private:
  const int64_t* code_;
  int64_t size_, at_ = 0;
};

void check_mixture(const Design& design, const MixtureColumns& mixture) {
  double least = 0.0, most = 0.0;
  for (int64_t i = mixture.start; i < mixture.stop; ++i) {
    require(design.levels[i].empty(), kOp, ": got levels for column ", i, ", which is in the ",
            "mixture ", mixture.start, ":", mixture.stop);
    require(design.low[i] >= 0.0, kOp, ": got low=", design.low[i], " for the mixture column ", i,
            "; wanted at least 0");
    least += design.low[i];
    most += design.high[i];
  }
  require(least <= 1.0 + kSlack && most >= 1.0 - kSlack, kOp, ": got bounds that sum to ", least,
          " and ", most, " for the mixture ", mixture.start, ":", mixture.stop,
          "; wanted at most 1 and at least 1");
}

bool has(const std::vector<double>& levels, double x) {
  return std::any_of(levels.begin(), levels.end(),
                     [&](double level) { return std::abs(level - x) <= kSlack; });
}

}  // namespace

Design Design::parse(int64_t d, const double* bounds, const double* levels, int64_t level_count,
                     const int64_t* code, int64_t size) {
  Design out;
  out.d = d;
  out.low.assign(bounds, bounds + d);
  out.high.assign(bounds + d, bounds + 2 * d);
  out.rest.assign(bounds + 2 * d, bounds + 3 * d);
  for (int64_t i = 0; i < d; ++i) {
    require(out.low[i] <= out.high[i] && std::isfinite(out.low[i]) && std::isfinite(out.high[i]) &&
                std::isfinite(out.rest[i]),
            kOp, ": got low=", out.low[i], ", high=", out.high[i], ", rest=", out.rest[i],
            " for column ", i, "; wanted finite ones, low <= high");
  }
  Reader read(code, size);
  int64_t used = 0;
  for (int64_t i = 0; i < d; ++i) {
    const int64_t count = read.below(level_count - used + 1, "number of levels");
    out.levels.emplace_back(levels + used, levels + used + count);
    out.ordered.push_back(static_cast<char>(read.below(2, "ordered")));
    require(std::is_sorted(out.levels[i].begin(), out.levels[i].end()), kOp,
            ": got levels of column ", i, " out of order; wanted them ascending");
    require(count == 0 || (out.levels[i].front() >= out.low[i] - kSlack &&
                           out.levels[i].back() <= out.high[i] + kSlack),
            kOp, ": got levels of column ", i, " beyond [", out.low[i], ", ", out.high[i], "]");
    used += count;
  }
  require(used == level_count, kOp, ": got ", level_count, " levels; wanted ", used);
  for (int64_t k = read.count(); k > 0; --k) {
    const int64_t start = read.below(d, "column"), stop = read.below(d + 1, "column");
    require(start < stop, kOp, ": got the mixture ", start, ":", stop, "; wanted start < stop");
    out.mixtures.push_back({start, stop, read.below(2, "roots") == 1});
    check_mixture(out, out.mixtures.back());
  }
  for (int64_t k = read.count(); k > 0; --k) {
    ActiveWhere condition;
    condition.column = read.below(d, "column");
    const auto& known = out.levels[condition.column];
    for (const int64_t i : read.several(static_cast<int64_t>(known.size()), "level")) {
      condition.levels.push_back(known[i]);
    }
    condition.columns = read.several(d, "column");
    out.conditions.push_back(condition);
  }
  for (int64_t k = read.count(); k > 0; --k) {
    const int64_t least = read.count();
    out.quotas.push_back({least, read.several(d, "column")});
  }
  read.finish();
  return out;
}

std::vector<char> Design::active(const double* row) const {
  std::vector<char> found(static_cast<size_t>(d), 1);
  for (const auto& condition : conditions) {
    if (found[condition.column] && has(condition.levels, row[condition.column])) continue;
    for (const int64_t i : condition.columns) found[i] = 0;
  }
  return found;
}

void Design::settle(double* row) const {
  if (conditions.empty()) return;
  const auto searched = active(row);
  for (int64_t i = 0; i < d; ++i) {
    if (!searched[i]) row[i] = rest[i];
  }
}

void Design::check(const double* row, int64_t index) const {
  for (int64_t i = 0; i < d; ++i) {
    require(std::isfinite(row[i]), kOp, ": got starts[", index, "][", i, "] = ", row[i],
            "; wanted finite numbers");
    require(row[i] >= low[i] - kSlack && row[i] <= high[i] + kSlack, kOp, ": got starts[", index,
            "][", i, "] = ", row[i], "; wanted one of [", low[i], ", ", high[i], "]");
    require(levels[i].empty() || has(levels[i], row[i]), kOp, ": got starts[", index, "][", i,
            "] = ", row[i], "; wanted one of its ", levels[i].size(), " levels");
  }
  for (const auto& mixture : mixtures) {
    double sum = 0.0;
    for (int64_t i = mixture.start; i < mixture.stop; ++i) sum += row[i];
    require(std::abs(sum - 1.0) <= kSlack, kOp, ": got weights that sum to ", sum, " in starts[",
            index, "][", mixture.start, ":", mixture.stop, "]; wanted 1");
  }
  for (const auto& quota : quotas) {
    int64_t count = 0;
    for (const int64_t i : quota.columns) count += row[i] > 0.5;
    require(count >= quota.least, kOp, ": got ", count, " flags in starts[", index, "]; wanted ",
            "at least ", quota.least);
  }
}

}  // namespace jobs_bench
