#include <algorithm>

#include "../core/mix_image.h"
#include "../cpu/mix_streams.h"
#include "../cuda/mix.h"
#include "device.h"
#include "mix_corpus.h"

// The mixture operators on CUDA tensors; contracts as in mix_indices.cpp, mix_counts.cpp,
// mix_batch.cpp and mix_pack.cpp. Trees are built on the host and copied, a few KB a call: weights
// on the device are fetched first, which waits for it; those of mix_batch and mix_pack, and the
// domain starts, are on the host. Outputs are on the device; nothing else waits.

namespace jobs_bench {
namespace {

using torch::headeronly::DeviceType;
using Device = torch::stable::Device;

Tensor on_host(const Tensor& t) {
  return t.is_cuda() ? torch::stable::to(t, Device(DeviceType::CPU)) : t;
}

// Numbers of the host on the device of `like`. Pageable memory is staged before the call returns.
Tensor to_device(std::vector<int64_t>& numbers, const Tensor& like) {
  const Ints shape = {static_cast<int64_t>(numbers.size())}, stride = {1};
  const Tensor here = torch::stable::from_blob(numbers.data(), {shape.data(), shape.size()},
                                               {stride.data(), stride.size()},
                                               Device(DeviceType::CPU), ScalarType::Long);
  return torch::stable::to(here, like.device(), /*non_blocking=*/true);
}

// The tables of K streams, as core/mix_image.h has them.
std::vector<int64_t> image_of(const std::vector<Stream>& streams, const int64_t* sizes,
                              const int64_t* starts, int64_t domains, const Ints& seeds,
                              const Ints& positions, bool stratified) {
  const auto count = static_cast<int64_t>(streams.size());
  std::vector<int64_t> image(count * kImageHead);
  image.insert(image.end(), sizes, sizes + domains);
  image.insert(image.end(), starts, starts + domains + 1);
  const auto append = [&](const void* from, int64_t n) {
    const auto at = static_cast<int64_t>(image.size());
    const auto* numbers = static_cast<const int64_t*>(from);
    image.insert(image.end(), numbers, numbers + n);
    return at;
  };
  for (int64_t k = 0; k < count; ++k) {
    const StreamView view = streams[k].view(sizes, static_cast<uint64_t>(seeds[k]), stratified);
    const int64_t nodes = append(view.nodes, streams[k].nodes() * (sizeof(Node) / 8));
    const int64_t phases = append(view.phases, view.count * (sizeof(Phase) / 8));
    const int64_t bases = append(view.bases, view.count * domains);
    const int64_t edges = append(view.edges, domains);
    int64_t* head = image.data() + k * kImageHead;
    head[kNodes] = nodes;
    head[kPhases] = phases;
    head[kBases] = bases;
    head[kEdges] = edges;
    head[kPhaseCount] = view.count;
    head[kSeed] = seeds[k];
    head[kStart] = positions[k];
    head[kIsStratified] = stratified ? 1 : 0;
  }
  return image;
}

std::tuple<Tensor, Tensor> mix_indices(Tensor weights, Tensor sizes, Ints seeds, Ints starts,
                                       int64_t n, bool stratified, Ints caps) {
  constexpr const char* kOp = "mix_indices";
  const Tensor w = on_host(checked(kOp, "weights", weights, ScalarType::Long, {-1, -1}));
  const int64_t streams = w.size(0), domains = w.size(1);
  const Tensor s = on_host(checked(kOp, "sizes", sizes, ScalarType::Long, {domains}));
  const auto* sp = s.const_data_ptr<int64_t>();
  const auto mixtures = drawn_streams(kOp, w.const_data_ptr<int64_t>(), streams, domains, sp, seeds,
                                      starts, n, stratified, caps);
  const Ints none(domains + 1, 0);
  auto numbers = image_of(mixtures, sp, none.data(), domains, seeds, starts, stratified);
  require(weights.is_cuda(), kOp, ": got sizes on the device and weights on the host");
  const OnDevice device(weights);
  const Tensor image = to_device(numbers, weights);
  Tensor domain = empty(weights, {streams, n}, ScalarType::Long);
  Tensor row = empty(weights, {streams, n}, ScalarType::Long);
  device.check(kOp, launch_mix_indices({image.const_data_ptr<int64_t>(), streams, domains}, n,
                                       domain.mutable_data_ptr<int64_t>(),
                                       row.mutable_data_ptr<int64_t>(), device.stream));
  return {domain, row};
}

Tensor mix_counts(Tensor weights, Ints positions, Ints caps) {
  constexpr const char* kOp = "mix_counts";
  const Tensor w = on_host(checked(kOp, "weights", weights, ScalarType::Long, {-1, -1}));
  const int64_t streams = w.size(0), domains = w.size(1);
  const auto mixtures =
      streams_of(kOp, w.const_data_ptr<int64_t>(), streams, domains, positions, caps);
  Tensor counts = empty(w, {streams, domains}, ScalarType::Long);
  auto* out = counts.mutable_data_ptr<int64_t>();
  for (int64_t k = 0; k < streams; ++k) mixtures[k].counts(positions[k], out + k * domains);
  return torch::stable::to(counts, weights.device());
}

// What both kinds of batches begin with: the corpus, and the streams' image on its device.
struct Start {
  Tensor tokens, offsets, image;
  MixImage view;
  CudaCorpus corpus;
};

Start start_of(const char* op, const Tensor& tokens, const Tensor& offsets, const Tensor& domains,
               const Tensor& weights, const Ints& seeds, const Ints& starts, const Ints& caps,
               bool stratified, int64_t n) {
  require(tokens.is_cuda() && offsets.is_cuda() && !domains.is_cuda() && !weights.is_cuda(), op,
          ": got tensors on other devices; wanted tokens and offsets on a CUDA device, domains and "
          "weights on the host");
  const CorpusTensors c = corpus_of(op, tokens, offsets, domains);
  const int64_t count = c.corpus.domains;
  const Tensor w = checked(op, "weights", weights, ScalarType::Long, {-1, count});
  const auto mixtures = drawn_streams(op, w.const_data_ptr<int64_t>(), w.size(0), count,
                                      c.sizes.data(), seeds, starts, n, stratified, caps);
  auto numbers =
      image_of(mixtures, c.sizes.data(), c.corpus.starts, count, seeds, starts, stratified);
  const Tensor image = to_device(numbers, tokens);
  return {c.tokens,
          c.offsets,
          image,
          {image.const_data_ptr<int64_t>(), w.size(0), count},
          {c.corpus.tokens, c.corpus.narrow, c.corpus.size, c.corpus.offsets}};
}

std::tuple<Tensor, Tensor> mix_batch(Tensor tokens, Tensor offsets, Tensor domains, Tensor weights,
                                     Ints seeds, Ints starts, Ints caps, bool stratified, int64_t n,
                                     int64_t length, int64_t pad, bool wide) {
  constexpr const char* kOp = "mix_batch";
  check_row(kOp, length, pad, wide);
  const OnDevice device(tokens);
  const Start s =
      start_of(kOp, tokens, offsets, domains, weights, seeds, starts, caps, stratified, n);
  const int64_t streams = s.view.streams;
  Tensor ids = empty(s.tokens, {streams, n, length}, wide ? ScalarType::Long : ScalarType::Int);
  Tensor table = empty(s.tokens, {3, streams, n}, ScalarType::Long);
  const CudaRows rows = {ids.mutable_data_ptr(),
                         wide,
                         nullptr,
                         nullptr,
                         nullptr,
                         table.mutable_data_ptr<int64_t>(),
                         n,
                         n,
                         length,
                         pad};
  device.check(kOp, launch_mix_batch(s.view, s.corpus, rows, device.stream));
  return {ids, table};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> mix_pack(Tensor tokens, Tensor offsets, Tensor domains,
                                                    Tensor weights, Ints seeds, Ints starts,
                                                    Ints caps, bool stratified, int64_t n,
                                                    int64_t rows, int64_t length, int64_t pad,
                                                    bool wide) {
  constexpr const char* kOp = "mix_pack";
  check_row(kOp, length, pad, wide);
  require(rows >= 0, kOp, ": got rows=", rows, "; wanted at least 0");
  const OnDevice device(tokens);
  const Start s =
      start_of(kOp, tokens, offsets, domains, weights, seeds, starts, caps, stratified, n);
  const int64_t streams = s.view.streams;
  Tensor ids = empty(s.tokens, {streams, rows, length}, wide ? ScalarType::Long : ScalarType::Int);
  Tensor layout = empty(s.tokens, {2, streams, rows, length}, ScalarType::Int);
  Tensor documents = empty(s.tokens, {streams, rows}, ScalarType::Int);
  Tensor table = empty(s.tokens, {3, streams, n}, ScalarType::Long);
  Tensor first = empty(s.tokens, {streams, rows}, ScalarType::Long);
  const CudaRows out = {ids.mutable_data_ptr(),
                        wide,
                        layout.mutable_data_ptr<int32_t>(),
                        documents.mutable_data_ptr<int32_t>(),
                        first.mutable_data_ptr<int64_t>(),
                        table.mutable_data_ptr<int64_t>(),
                        n,
                        rows,
                        length,
                        pad};
  device.check(kOp, launch_mix_pack(s.view, s.corpus, out, device.stream));
  return {ids, layout, documents, table};
}

STABLE_TORCH_LIBRARY_IMPL(jobs_bench, CUDA, m) {
  m.impl("mix_indices", TORCH_BOX(&mix_indices));
  m.impl("mix_counts", TORCH_BOX(&mix_counts));
  m.impl("mix_batch", TORCH_BOX(&mix_batch));
  m.impl("mix_pack", TORCH_BOX(&mix_pack));
}

}  // namespace
}  // namespace jobs_bench
