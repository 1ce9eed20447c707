// defines: Windows, SquareDraws, bump_pattern()
#pragma once
#include "hpm/attacks/attack_model.h"
#include "hpm/core/random.h"

namespace hpm {

/// Square windows of one side in a batch of images [M,C,H,W]: one for all rows, or one for each.
class Windows {
 public:
  /// corner [M,2] or [1,2] int64 (row, column); `like` [M,C,H,W]: the shape of what is read and written.
  Windows(const Tensor& corner, int64_t side, const Tensor& like);
  Tensor read(const Tensor& x) const;                       ///< [M,C,side,side]
  void write(const Tensor& x, const Tensor& values) const;  ///< in place; values broadcast to [M,C,side,side]
  Tensor mask(const Tensor& x) const;                       ///< [M or 1,1,H,W] bool: inside

 private:
  Tensor corner_;
  int64_t side_;
  int64_t row_ = 0, column_ = 0;  // of one window for all
  Tensor places_;                 // [M,C,side*side], flat in the channel, of a window for each
};

/// Square's random numbers. Shared: one window for all rows, in the order of the authors' code. Otherwise each row's
/// numbers come from (seed, image, restart, iteration).
class SquareDraws {
 public:
  SquareDraws(const RandomStreams& streams, std::string stream, int64_t restart, bool shared)
      : streams_(streams), stream_(std::move(stream)), restart_(restart), shared_(shared) {}

  /// Numbers for the next iteration (-1: the start) of these images.
  void begin(const Tensor& index, int64_t iteration, at::TensorOptions options);
  Tensor corner(int64_t free_rows, int64_t free_columns);   ///< [M or 1,2] int64, uniform on [0, free]
  Tensor transposed();                                      ///< [M or 1] bool
  Tensor signs(at::IntArrayRef tail, bool shared_by_rows);  ///< [M or 1, tail...] of +-1

 private:
  Tensor uniform(at::IntArrayRef tail, bool shared_by_rows);
  const RandomStreams& streams_;
  std::string stream_;
  int64_t restart_;
  bool shared_;
  Tensor index_;
  int64_t iteration_ = 0, position_ = 0;
  at::TensorOptions options_;
};

/// Two bumps of opposite sign, one above the other, of norm 1 (L2, or L1): what a window of the L2 and L1 attacks adds.
/// [side,side] in `options`' type. (arXiv:1912.00049, section 3.4.)
Tensor bump_pattern(int64_t side, bool euclidean, at::TensorOptions options);

}  // namespace hpm
