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

/// Where attacks and training get their random numbers. Row i depends on (seed, index[i], purpose, position) alone: not
/// on the batch that it stands in, the order, the number of threads, or on what was drawn before.
///
/// Counter-based (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is
/// made of seed and purpose, the counter of image index and position. The draws are `virtual` so that a conformance run
/// can substitute those of another implementation.
class RandomStreams {
 public:
  explicit RandomStreams(uint64_t seed) : seed_(seed) {}
  virtual ~RandomStreams() = default;

  /// Uniform on [0,1). index [N] int64 (CPU), tail = the shape of a row -> [N, tail...] float32 on the CPU. `position`
  /// counts the draws of a row within its stream, so that several calls can share one stream: this call takes positions
  /// [position, position + numel(row)). Throws UsageError unless `position` is a multiple of 4.
  virtual Tensor uniform(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail, int64_t position = 0) const;
  /// Standard normal; shapes and `position` as for uniform(). Draws come in pairs: a row takes numel(row) positions,
  /// rounded up to an even number.
  virtual Tensor normal(const Tensor& index, const Purpose& purpose, at::IntArrayRef tail, int64_t position = 0) const;

  /// An attack calls this once, after its first pass over the images and before its first draw. These streams need
  /// nothing; a conformance run seeds LibTorch's global generator here, as the official code does.
  virtual void begin_attack() const {}

  /// A permutation of 0..n-1 that depends on (seed, purpose) alone, as int64 [n].
  Tensor permutation(int64_t n, const Purpose& purpose) const;

  uint64_t seed() const { return seed_; }

 private:
  uint64_t key(const Purpose& purpose) const;
  uint64_t seed_;
};

}  // namespace hpm
