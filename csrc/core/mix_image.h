#pragma once

#include <cstdint>

#include "mix.h"

// The tables of K streams as one row of numbers, to be copied to a device in one go:
//   K heads of kImageHead numbers, D sizes, D + 1 domain starts, then what the heads point to

namespace jobs_bench {

// Places in a head; the first four are places in the image.
enum ImageHead : int64_t {
  kNodes,
  kPhases,
  kBases,
  kEdges,
  kPhaseCount,
  kSeed,
  kStart,
  kIsStratified,
  kImageHead
};

JB_HOST_DEVICE inline const int64_t* image_sizes(const int64_t* image, int64_t streams) {
  return image + streams * kImageHead;
}

JB_HOST_DEVICE inline const int64_t* image_starts(const int64_t* image, int64_t streams,
                                                  int64_t domains) {
  return image_sizes(image, streams) + domains;
}

JB_HOST_DEVICE inline int64_t image_position(const int64_t* image, int64_t k) {
  return image[k * kImageHead + kStart];
}

JB_HOST_DEVICE inline StreamView image_stream(const int64_t* image, int64_t streams,
                                              int64_t domains, int64_t k) {
  const int64_t* head = image + k * kImageHead;
  StreamView view;
  view.nodes = reinterpret_cast<const Node*>(image + head[kNodes]);
  view.phases = reinterpret_cast<const Phase*>(image + head[kPhases]);
  view.bases = image + head[kBases];
  view.edges = image + head[kEdges];
  view.sizes = image_sizes(image, streams);
  view.count = head[kPhaseCount];
  view.domains = domains;
  view.seed = static_cast<uint64_t>(head[kSeed]);
  view.stratified = head[kIsStratified] != 0;
  return view;
}

}  // namespace jobs_bench
