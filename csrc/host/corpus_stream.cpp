#include "corpus_stream.h"

#include <numeric>

namespace jobs_bench {
namespace {

namespace py = pybind11;

constexpr const char* kName = "CorpusStream";

std::string shape_text(const py::array& a) {
  std::string out = "(";
  for (py::ssize_t k = 0; k < a.ndim(); ++k) out += std::to_string(a.shape(k)) + ", ";
  return out + ")";
}

// Throws unless the array is contiguous, of a type, and of a shape; -1 is free.
template <class T>
void check(const char* name, const py::array& a, const std::vector<int64_t>& shape) {
  if (!py::isinstance<py::array_t<T>>(a)) {
    require(false, kName, ": got ", name, " of ", py::str(a.dtype()).cast<std::string>(),
            "; wanted ", py::str(py::dtype::of<T>()).cast<std::string>());
  }
  bool fits = a.ndim() == static_cast<py::ssize_t>(shape.size());
  for (size_t k = 0; fits && k < shape.size(); ++k) fits = shape[k] < 0 || a.shape(k) == shape[k];
  if (!fits) {
    std::string wanted = "(";
    for (const int64_t n : shape) wanted += n < 0 ? "any, " : std::to_string(n) + ", ";
    require(false, kName, ": got ", name, " ", shape_text(a), "; wanted ", wanted, ")");
  }
  require((a.flags() & py::array::c_style) != 0, kName, ": got ", name,
          " with gaps between its numbers; wanted it contiguous");
}

std::vector<int64_t> numbers(const char* name, const py::array& a) {
  check<int64_t>(name, a, {-1});
  const auto* p = static_cast<const int64_t*>(a.data());
  return {p, p + a.size()};
}

bool is_wide(const py::array& ids) { return py::isinstance<py::array_t<int64_t>>(ids); }

void check_ids(const py::array& ids, const std::vector<int64_t>& shape) {
  if (is_wide(ids)) {
    check<int64_t>("ids", ids, shape);
  } else {
    check<int32_t>("ids", ids, shape);
  }
}

}  // namespace

CorpusStream::CorpusStream(py::array tokens, py::array offsets, const py::array& domains,
                           const py::array& weights, Numbers seeds, const Numbers& caps,
                           bool stratified)
    : tokens_(std::move(tokens)),
      offsets_(std::move(offsets)),
      domains_(numbers("domains", domains)),
      seeds_(std::move(seeds)) {
  const bool narrow = py::isinstance<py::array_t<uint16_t>>(tokens_);
  if (!narrow) check<int32_t>("tokens", tokens_, {-1});
  if (narrow) check<uint16_t>("tokens", tokens_, {-1});
  check<int64_t>("offsets", offsets_, {-1});
  require(offsets_.size() >= 1 && !domains_.empty(), kName, ": got ", offsets_.size(),
          " offsets and ", domains_.size(), " domain starts; wanted at least 1 of each");
  const int64_t documents = offsets_.size() - 1;
  const auto count = static_cast<int64_t>(domains_.size()) - 1;
  sizes_ = domain_sizes(kName, domains_.data(), count, documents);
  check<int64_t>("weights", weights, {static_cast<int64_t>(seeds_.size()), count});
  const auto* w = static_cast<const int64_t*>(weights.data());
  const auto streams = static_cast<int64_t>(seeds_.size());
  const Numbers zeros(streams, 0);
  drawn_streams(kName, w, streams, count, sizes_.data(), seeds_, zeros, 0, stratified, caps);
  for (int64_t k = 0; k < streams; ++k) {
    streams_.emplace_back(w + k * count, caps.empty() ? nullptr : caps.data(), count, kForever);
  }
  views_ = views_of(streams_, sizes_.data(), seeds_, stratified);
  corpus_ = {
      tokens_.data(), narrow,          tokens_.size(), static_cast<const int64_t*>(offsets_.data()),
      documents,      domains_.data(), count};
}

std::vector<int64_t> CorpusStream::starts_at(int64_t step, int64_t n) const {
  require(step >= 0 && (n == 0 || step < kForever / n), kName, ": got step ", step,
          "; wanted [0, 2^60 / ", n, ")");
  for (size_t k = 0; k < streams_.size(); ++k) {
    require((step + 1) * n <= streams_[k].end(), kName, ": stream ", k, " ends at position ",
            streams_[k].end(), ", where every domain has reached its cap; got position ",
            (step + 1) * n);
  }
  return std::vector<int64_t>(streams_.size(), step * n);
}

void CorpusStream::batch(int64_t step, int64_t pad, Out ids, Out table) const {
  const auto streams = static_cast<int64_t>(streams_.size());
  check<int64_t>("table", table, {3, streams, -1});
  const int64_t n = table.shape(2);
  check_ids(ids, {streams, n, -1});
  const int64_t length = ids.shape(2);
  check_row(kName, length, pad, is_wide(ids));
  const auto starts = starts_at(step, n);
  const Rows rows = {ids.mutable_data(), is_wide(ids), nullptr, nullptr, length, pad};
  auto* numbers = static_cast<int64_t*>(table.mutable_data());
  const py::gil_scoped_release released;
  batch_rows(corpus_, views_.data(), starts.data(), n, streams * n, 0, streams * n, numbers, rows);
}

int64_t CorpusStream::pack(int64_t step, int64_t pad, Out ids, Out layout, Out documents,
                           Out table) const {
  const auto streams = static_cast<int64_t>(streams_.size());
  check<int64_t>("table", table, {3, streams, -1});
  check_ids(ids, {streams, -1, -1});
  const int64_t n = table.shape(2), count = ids.shape(1), length = ids.shape(2);
  check<int32_t>("layout", layout, {2, streams, count, length});
  check<int32_t>("documents", documents, {streams, count});
  check_row(kName, length, pad, is_wide(ids));
  const auto starts = starts_at(step, n);
  auto* position = static_cast<int32_t*>(layout.mutable_data());
  const Rows rows = {
      ids.mutable_data(), is_wide(ids), position, position + streams * count * length, length, pad};
  auto* numbers = static_cast<int64_t*>(table.mutable_data());
  auto* counts = static_cast<int32_t*>(documents.mutable_data());
  const py::gil_scoped_release released;
  for (int64_t k = 0; k < streams; ++k) {
    plan_pack(corpus_, views_[k], starts[k], n, count, length,
              table_at(numbers, streams * n, k * n), counts + k * count);
  }
  const Table all = table_at(numbers, streams * n, 0);
  pack_rows(corpus_, n, count, 0, streams * count, all, counts, rows);
  return std::accumulate(counts, counts + streams * count, int64_t{0});
}

}  // namespace jobs_bench
