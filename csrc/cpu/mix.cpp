#include "mix.h"

#include <algorithm>
#include <functional>
#include <queue>

#include "each_isa.h"

namespace jobs_bench {
namespace {

// The smallest t at a node that sends `want` positions to its left child, kForever at most.
int64_t inverse_left(const Node& n, int64_t want) {
  const __int128 t = (static_cast<__int128>(want) * n.total - n.total / 2 + n.left - 1) / n.left;
  return static_cast<int64_t>(std::min<__int128>(t, kForever));
}

// The same for its right child.
int64_t inverse_right(const Node& n, int64_t want) {
  const __int128 above = static_cast<__int128>(want - 1) * n.total + n.total / 2;
  const __int128 t = above / (n.total - n.left) + 1;
  return static_cast<int64_t>(std::min<__int128>(t, kForever));
}

// A domain in one of its epochs: the keys of the permutation, worked out once.
struct Epoch {
  uint64_t number = ~uint64_t{0};
  int half = 0;
  RoundKeys keys;
};

constexpr int kBlock = 256;

// Draws on their way through the permutation of core/mix.h, one array a number: so that a round is
// the same work for all of them, side by side.
struct Walk {
  uint64_t v[kBlock];
  uint64_t size[kBlock];
  uint32_t half[kBlock];
  uint32_t a[kBlock];
  uint32_t b[kBlock];
  uint32_t keys[kRounds][kBlock];
  int32_t at[kBlock];  // place among the block's rows

  void take(int to, int from) {
    v[to] = v[from];
    size[to] = size[from];
    half[to] = half[from];
    at[to] = at[from];
    for (auto& key : keys) key[to] = key[from];
  }
};

// One pass through the network for the first n.
JB_EACH_ISA void pass(Walk& w, int n) {
  for (int i = 0; i < n; ++i) {
    w.a[i] = static_cast<uint32_t>(w.v[i] >> w.half[i]);
    w.b[i] = static_cast<uint32_t>(w.v[i] & ((uint64_t{1} << w.half[i]) - 1));
  }
  for (const auto& key : w.keys) {
    for (int i = 0; i < n; ++i) {
      const auto mask = static_cast<uint32_t>((uint64_t{1} << w.half[i]) - 1);
      const uint32_t next = w.a[i] ^ (mix32(w.b[i] ^ key[i]) & mask);
      w.a[i] = w.b[i];
      w.b[i] = next;
    }
  }
  for (int i = 0; i < n; ++i) w.v[i] = static_cast<uint64_t>(w.a[i]) << w.half[i] | w.b[i];
}

// Walks each to the first number below its size.
void walk(Walk& w, int n, int64_t* row) {
  while (n > 0) {
    pass(w, n);
    int left = 0;
    for (int i = 0; i < n; ++i) {
      row[w.at[i]] = static_cast<int64_t>(w.v[i]);
      if (w.v[i] >= w.size[i]) w.take(left++, i);
    }
    n = left;
  }
}

// Rows at positions of a stratified stream, a block at most.
void draw_block(const StreamView& stream, int64_t start, int n, std::vector<Epoch>& epochs, Walk& w,
                int64_t* domain, int64_t* row) {
  for (int i = 0; i < n; ++i) {
    const Place place = place_at(stream, start + i);
    const auto count = static_cast<uint64_t>(place.count);
    const auto size = static_cast<uint64_t>(stream.sizes[place.domain]);
    const uint64_t number = count / size;
    Epoch& epoch = epochs[place.domain];
    if (epoch.number != number) {
      epoch = {number, half_bits(size), round_keys(number, stream.seed, place.domain)};
    }
    domain[i] = place.domain;
    w.v[i] = count - number * size;
    w.size[i] = size;
    w.half[i] = static_cast<uint32_t>(epoch.half);
    w.at[i] = i;
    for (int r = 0; r < kRounds; ++r) w.keys[r][i] = epoch.keys.word[r];
  }
  walk(w, n, row);
}

}  // namespace

// The Huffman tree of the weights; ties go to the older entry, domains in order.
int64_t Stream::grow(const std::vector<int64_t>& weights) {
  struct Entry {
    int64_t weight, age, child;
    bool operator>(const Entry& o) const {
      return weight != o.weight ? weight > o.weight : age > o.age;
    }
  };
  std::vector<Entry> entries;
  entries.reserve(weights.size());
  for (int64_t d = 0; d < domains_; ++d) {
    if (weights[d] > 0) entries.push_back({weights[d], d, -d - 1});
  }
  int64_t age = domains_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap({}, std::move(entries));
  while (heap.size() > 1) {
    const Entry light = heap.top();
    heap.pop();
    const Entry heavy = heap.top();
    heap.pop();
    const int64_t total = light.weight + heavy.weight;
    heap.push({total, age++, static_cast<int64_t>(nodes_.size())});
    nodes_.push_back({heavy.weight, total, heavy.child, light.child});
  }
  return heap.top().child;
}

// The first position count of a tree at which some domain has `left` draws; children stand before
// their parents, and the inverses rise, so that the earliest child decides.
int64_t Stream::first_exhausted(int64_t root, int64_t first,
                                const std::vector<int64_t>& left) const {
  if (root < 0) return left[-root - 1];
  std::vector<int64_t> earliest(nodes_.size() - first);
  const auto of = [&](int64_t child) {
    return child < 0 ? left[-child - 1] : earliest[child - first];
  };
  for (size_t k = 0; k < earliest.size(); ++k) {
    const Node& n = nodes_[first + k];
    earliest[k] = std::min(inverse_left(n, of(n.a)), inverse_right(n, of(n.b)));
  }
  return earliest[root - first];
}

// Adds what t positions of a tree give to each domain.
void Stream::spread(int64_t root, int64_t first, int64_t t, int64_t* counts) const {
  if (root < 0) {
    counts[-root - 1] += t;
    return;
  }
  std::vector<int64_t> here(root - first + 1);
  here.back() = t;
  for (int64_t k = root; k >= first; --k) {
    const Node& n = nodes_[k];
    const int64_t all = here[k - first], gone = split_at(n, all).before;
    const auto give = [&](int64_t child, int64_t share) {
      if (child < 0) {
        counts[-child - 1] += share;
      } else {
        here[child - first] = share;
      }
    };
    give(n.a, gone);
    give(n.b, all - gone);
  }
}

Stream::Stream(const int64_t* weights, const int64_t* caps, int64_t domains, int64_t until)
    : domains_(domains), edges_(domains) {
  std::vector<int64_t> live(weights, weights + domains), drawn(domains, 0), left(domains);
  for (int64_t d = 0, sum = 0; d < domains; ++d) edges_[d] = sum += weights[d];
  nodes_.reserve(domains);
  for (int64_t start = 0;;) {
    const auto first = static_cast<int64_t>(nodes_.size());
    const int64_t root = grow(live);
    phases_.push_back({start, root});
    firsts_.push_back(first);
    bases_.insert(bases_.end(), drawn.begin(), drawn.end());
    if (caps == nullptr) return;
    for (int64_t d = 0; d < domains; ++d) left[d] = caps[d] - drawn[d];
    const int64_t length = first_exhausted(root, first, left);
    if (length >= until - start) return;
    spread(root, first, length, drawn.data());
    start += length;
    for (int64_t d = 0; d < domains; ++d) {
      if (drawn[d] >= caps[d]) live[d] = 0;
    }
    if (std::all_of(live.begin(), live.end(), [](int64_t w) { return w == 0; })) {
      end_ = start;
      return;
    }
  }
}

void Stream::counts(int64_t position, int64_t* out) const {
  size_t p = phases_.size() - 1;
  while (phases_[p].start > position) --p;
  std::copy_n(bases_.data() + p * domains_, domains_, out);
  spread(phases_[p].root, firsts_[p], position - phases_[p].start, out);
}

StreamView Stream::view(const int64_t* sizes, uint64_t seed, bool stratified) const {
  return {nodes_.data(), phases_.data(), bases_.data(),
          edges_.data(), sizes,          static_cast<int64_t>(phases_.size()),
          domains_,      seed,           stratified};
}

void draw(const StreamView& stream, int64_t start, int64_t n, int64_t* domain, int64_t* row) {
  if (!stream.stratified) {
    for (int64_t i = 0; i < n; ++i) {
      const Drawn drawn = draw_iid(stream, start + i);
      domain[i] = drawn.domain;
      row[i] = drawn.row;
    }
    return;
  }
  std::vector<Epoch> epochs(stream.domains);
  Walk w;
  for (int64_t i = 0; i < n; i += kBlock) {
    const auto many = static_cast<int>(std::min<int64_t>(kBlock, n - i));
    draw_block(stream, start + i, many, epochs, w, domain + i, row + i);
  }
}

}  // namespace jobs_bench
