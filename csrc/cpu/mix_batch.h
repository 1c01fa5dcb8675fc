#pragma once

#include <cstdint>
#include <vector>

#include "../core/mix.h"

// Token batches on the CPU: raw pointers, no torch.

namespace jobs_bench {

// Documents one after another, those of a domain together. What lies behind the pointers belongs
// to someone else and is read only.
struct Corpus {
  const void* tokens;  // uint16 where narrow, else int32
  bool narrow;
  int64_t size;            // tokens
  const int64_t* offsets;  // (documents + 1,): where each document begins and the last one ends
  int64_t documents;
  const int64_t* starts;  // (domains + 1,): where the documents of each domain begin
  int64_t domains;
};

// What was drawn: one number a document in each array.
struct Table {
  int64_t* length;  // tokens that are kept
  int64_t* domain;
  int64_t* document;  // in the corpus
};

// Where the tokens go. A null array is not wanted.
struct Rows {
  void* ids;  // (rows, length), int64 where wide, else int32
  bool wide;
  int32_t* position;  // (rows, length): from 0 in each document, 0 in the padding
  int32_t* segment;   // (rows, length): documents of a row from 1, 0 in the padding
  int64_t length;
  int64_t pad;
};

// Documents of each domain. Throws where a domain lies outside of the documents.
std::vector<int64_t> domain_sizes(const char* op, const int64_t* starts, int64_t domains,
                                  int64_t documents);

// Throws where rows are too long to count in 32 bits, or the ids cannot hold the padding.
void check_row(const char* op, int64_t length, int64_t pad, bool wide);

// The part from `at` of a table (3, all).
Table table_at(int64_t* numbers, int64_t all, int64_t at);

// Padded rows [begin, end) of K streams of n rows each, one document a row; the table is (3, K, n).
// Throws where a document lies outside of the corpus.
void batch_rows(const Corpus& corpus, const StreamView* streams, const int64_t* starts, int64_t n,
                int64_t all, int64_t begin, int64_t end, int64_t* numbers, const Rows& rows);

// Draws the n documents of a stream into the table, which is its own, and finds the rows of those
// that find room by next-fit: `documents` of each row. Throws like batch_rows.
void plan_pack(const Corpus& corpus, const StreamView& stream, int64_t start, int64_t n,
               int64_t count, int64_t length, const Table& table, int32_t* documents);

// Packed rows [begin, end) of K streams of `count` rows each, n documents of the table a stream.
void pack_rows(const Corpus& corpus, int64_t n, int64_t count, int64_t begin, int64_t end,
               const Table& table, const int32_t* documents, const Rows& rows);

}  // namespace jobs_bench
