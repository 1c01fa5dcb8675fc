#pragma once

#include <cstdint>

#include "philox.h"

// Where documents of given lengths go in rows of `capacity` tokens: next-fit, shared by all
// devices. A document that does not fit behind the last one opens the next row; nothing is split,
// reordered or put into an earlier row.

namespace jobs_bench {

struct NextFit {
  int64_t rows;
  int64_t capacity;
  int64_t row = 0;
  int64_t filled = 0;

  // Whether the document found room, in `row`. After the first that did not, none does.
  JB_HOST_DEVICE bool place(int64_t length) {
    if (filled + length > capacity) {
      ++row;
      filled = 0;
    }
    if (row >= rows) {
      filled = capacity + 1;
      return false;
    }
    filled += length;
    return true;
  }
};

// Tokens of a document that are kept: its first `limit`.
JB_HOST_DEVICE inline int64_t kept(int64_t begin, int64_t end, int64_t limit) {
  return end - begin < limit ? end - begin : limit;
}

}  // namespace jobs_bench
