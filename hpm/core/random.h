// defines: RandomStreams, Purpose
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace hpm {

using at::Tensor;

/// What a stream of random numbers is for. Streams of different purposes are independent.
struct Purpose {
  std::string_view name;  ///< e.g. "apgd-ce start"
  int64_t restart = 0;
  int64_t target = 0;
};

/// Where attacks and training get their random numbers: row i depends only on (seed, index[i], purpose, position),
/// never on the batch it stands in, the order, the number of threads or workers, or on what was drawn before.
///
/// Counter-based (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is
/// made of seed and purpose, the counter of image index and position. `virtual` so that a conformance run can
/// substitute the draws of another implementation.
class RandomStreams {
 public:
  explicit RandomStreams(uint64_t seed) : seed_(seed) {}
  virtual ~RandomStreams() = default;

  /// Uniform on [0,1). index [N] int64 (CPU), tail = the shape of a row -> [N, tail...] float32 on `device`.
  /// `position` counts draws within a stream: row values occupy positions [position, position + numel(row)).
  virtual Tensor uniform(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail, int64_t position = 0) const;
  /// Standard normal; same shapes.
  virtual Tensor normal(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail, int64_t position = 0) const;

  /// An attack calls this once, after its first pass over the images and before its first draw.
  virtual void begin_attack() const {}

  /// A permutation of 0..n-1 that depends on (seed, purpose) alone, as int64 [n].
  Tensor permutation(int64_t n, const Purpose& purpose) const;

  uint64_t seed() const { return seed_; }

 private:
  uint64_t key(const Purpose& purpose) const;
  uint64_t seed_;
};

}  // namespace hpm
