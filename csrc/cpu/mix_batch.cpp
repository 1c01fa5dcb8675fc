#include "mix_batch.h"

#include <algorithm>

#include "../core/mix_pack.h"
#include "../core/require.h"
#include "mix.h"

namespace jobs_bench {
namespace {

template <class In, class Out>
void copy_row(const Corpus& corpus, const Table& table, int64_t first, int64_t count, int64_t row,
              const Rows& rows) {
  auto* ids = static_cast<Out*>(rows.ids) + row * rows.length;
  const auto* tokens = static_cast<const In*>(corpus.tokens);
  int64_t at = 0;
  for (int64_t i = first; i < first + count; ++i) {
    const In* from = tokens + corpus.offsets[table.document[i]];
    const int64_t n = table.length[i];
    for (int64_t k = 0; k < n; ++k) ids[at + k] = static_cast<Out>(from[k]);
    at += n;
  }
  std::fill(ids + at, ids + rows.length, static_cast<Out>(rows.pad));
}

void lay_out_row(const Table& table, int64_t first, int64_t count, int64_t row, const Rows& rows) {
  int32_t* position = rows.position + row * rows.length;
  int32_t* segment = rows.segment + row * rows.length;
  int64_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto n = static_cast<int32_t>(table.length[first + i]);
    for (int32_t k = 0; k < n; ++k) position[at + k] = k;
    std::fill_n(segment + at, n, static_cast<int32_t>(i + 1));
    at += n;
  }
  std::fill(position + at, position + rows.length, 0);
  std::fill(segment + at, segment + rows.length, 0);
}

}  // namespace

void draw_documents(const Corpus& corpus, const StreamView& stream, int64_t start, int64_t begin,
                    int64_t end, int64_t length, const Table& table) {
  draw(stream, start + begin, end - begin, table.domain + begin, table.document + begin);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t document = corpus.starts[table.domain[i]] + table.document[i];
    const int64_t from = corpus.offsets[document], to = corpus.offsets[document + 1];
    if (from < 0 || to < from || to > corpus.size) {
      require(false, "document ", document, " is said to lie at tokens [", from, ", ", to,
              "); wanted it in [0, ", corpus.size, ")");
    }
    table.document[i] = document;
    table.length[i] = kept(from, to, length);
  }
}

int64_t pack(const int64_t* lengths, int64_t n, int64_t rows, int64_t length, int32_t* documents) {
  std::fill_n(documents, rows, 0);
  NextFit fit{rows, length};
  for (int64_t i = 0; i < n; ++i) {
    if (!fit.place(lengths[i])) return i;
    ++documents[fit.row];
  }
  return n;
}

void fill_row(const Corpus& corpus, const Table& table, int64_t first, int64_t count, int64_t row,
              const Rows& rows) {
  const auto copy = corpus.narrow
                        ? (rows.wide ? copy_row<uint16_t, int64_t> : copy_row<uint16_t, int32_t>)
                        : (rows.wide ? copy_row<int32_t, int64_t> : copy_row<int32_t, int32_t>);
  copy(corpus, table, first, count, row, rows);
  if (rows.position != nullptr) lay_out_row(table, first, count, row, rows);
}

}  // namespace jobs_bench
