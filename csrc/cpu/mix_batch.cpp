#include "mix_batch.h"

#include <algorithm>
#include <numeric>

#include "../core/mix_pack.h"
#include "../core/require.h"
#include "each_isa.h"
#include "mix.h"

namespace jobs_bench {
namespace {

// Widening copies are what a batch costs.
template <class In, class Out>
JB_INTO void copy_row(const Corpus& corpus, const Table& table, int64_t first, int64_t count,
                      int64_t row, const Rows& rows) {
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

JB_EACH_ISA void copy_16_64(const Corpus& corpus, const Table& table, int64_t first, int64_t count,
                            int64_t row, const Rows& rows) {
  copy_row<uint16_t, int64_t>(corpus, table, first, count, row, rows);
}

JB_EACH_ISA void copy_16_32(const Corpus& corpus, const Table& table, int64_t first, int64_t count,
                            int64_t row, const Rows& rows) {
  copy_row<uint16_t, int32_t>(corpus, table, first, count, row, rows);
}

JB_EACH_ISA void copy_32_64(const Corpus& corpus, const Table& table, int64_t first, int64_t count,
                            int64_t row, const Rows& rows) {
  copy_row<int32_t, int64_t>(corpus, table, first, count, row, rows);
}

JB_EACH_ISA void copy_32_32(const Corpus& corpus, const Table& table, int64_t first, int64_t count,
                            int64_t row, const Rows& rows) {
  copy_row<int32_t, int32_t>(corpus, table, first, count, row, rows);
}

JB_EACH_ISA void lay_out_row(const Table& table, int64_t first, int64_t count, int64_t row,
                             const Rows& rows) {
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

// Documents at positions [start, start + n) into the table.
void draw_documents(const Corpus& corpus, const StreamView& stream, int64_t start, int64_t n,
                    int64_t length, const Table& table) {
  draw(stream, start, n, table.domain, table.document);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t document = corpus.starts[table.domain[i]] + table.document[i];
    const int64_t from = corpus.offsets[document], to = corpus.offsets[document + 1];
    if (from < 0 || to < from || to > corpus.size) {
      require(false, "mix_batch: document ", document, " is said to lie at tokens [", from, ", ",
              to, "); wanted it in [0, ", corpus.size, ")");
    }
    table.document[i] = document;
    table.length[i] = kept(from, to, length);
  }
}

// Writes one row: `count` documents from `first` of the table, then padding.
void fill_row(const Corpus& corpus, const Table& table, int64_t first, int64_t count, int64_t row,
              const Rows& rows) {
  const auto copy =
      corpus.narrow ? (rows.wide ? copy_16_64 : copy_16_32) : (rows.wide ? copy_32_64 : copy_32_32);
  copy(corpus, table, first, count, row, rows);
  if (rows.position != nullptr) lay_out_row(table, first, count, row, rows);
}

}  // namespace

std::vector<int64_t> domain_sizes(const char* op, const int64_t* starts, int64_t domains,
                                  int64_t documents) {
  std::vector<int64_t> sizes(domains);
  for (int64_t d = 0; d < domains; ++d) {
    require(starts[d] >= 0 && starts[d] <= starts[d + 1] && starts[d + 1] <= documents, op,
            ": domain ", d, " is said to hold documents [", starts[d], ", ", starts[d + 1],
            "); wanted them in [0, ", documents, ")");
    sizes[d] = starts[d + 1] - starts[d];
  }
  return sizes;
}

void check_row(const char* op, int64_t length, int64_t pad, bool wide) {
  require(length >= 1 && length <= INT32_MAX, op, ": got length=", length, "; wanted [1, 2^31)");
  require(wide || (pad >= INT32_MIN && pad <= INT32_MAX), op, ": got pad=", pad,
          "; wanted a 32-bit number");
}

Table table_at(int64_t* numbers, int64_t all, int64_t at) {
  return {numbers + at, numbers + all + at, numbers + 2 * all + at};
}

void batch_rows(const Corpus& corpus, const StreamView* streams, const int64_t* starts, int64_t n,
                int64_t all, int64_t begin, int64_t end, int64_t* numbers, const Rows& rows) {
  const Table table = table_at(numbers, all, 0);
  while (begin < end) {  // one stream at a time
    const int64_t k = begin / n, stop = std::min(end, (k + 1) * n);
    draw_documents(corpus, streams[k], starts[k] + begin - k * n, stop - begin, rows.length,
                   table_at(numbers, all, begin));
    for (; begin < stop; ++begin) fill_row(corpus, table, begin, 1, begin, rows);
  }
}

void plan_pack(const Corpus& corpus, const StreamView& stream, int64_t start, int64_t n,
               int64_t count, int64_t length, const Table& table, int32_t* documents) {
  draw_documents(corpus, stream, start, n, length, table);
  std::fill_n(documents, count, 0);
  NextFit fit{count, length};
  for (int64_t i = 0; i < n && fit.place(table.length[i]); ++i) ++documents[fit.row];
}

void pack_rows(const Corpus& corpus, int64_t n, int64_t count, int64_t begin, int64_t end,
               const Table& table, const int32_t* documents, const Rows& rows) {
  int64_t first = 0;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t own = r / count * count;  // the stream's first row
    if (r == begin || r == own) {
      first = std::accumulate(documents + own, documents + r, r / count * n);
    }
    fill_row(corpus, table, first, documents[r], r, rows);
    first += documents[r];
  }
}

}  // namespace jobs_bench
