#pragma once

#include <cstdint>

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

// Draws the documents at positions [start + begin, start + end) into [begin, end) of the table.
// Throws where a document lies outside of the corpus.
void draw_documents(const Corpus& corpus, const StreamView& stream, int64_t start, int64_t begin,
                    int64_t end, int64_t length, const Table& table);

// Documents of each of the rows, by next-fit; returns how many found room.
int64_t pack(const int64_t* lengths, int64_t n, int64_t rows, int64_t length, int32_t* documents);

// Writes one row: `count` documents from `first` of the table, then padding.
void fill_row(const Corpus& corpus, const Table& table, int64_t first, int64_t count, int64_t row,
              const Rows& rows);

}  // namespace jobs_bench
