#pragma once

#include <sstream>
#include <stdexcept>

namespace jobs_bench {

// Throws what Python sees as a RuntimeError, its message the parts one after another. They are
// evaluated either way: in a hot loop, test first.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  message.precision(17);
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

}  // namespace jobs_bench
