// defines: WinogradWeights, winograd_convolution()
#pragma once
#include <ATen/core/Tensor.h>

namespace hpm {

using at::Tensor;

/// Weights of a 3x3 convolution, transformed for minimal filtering: A. Lavin and S. Gray, "Fast Algorithms for
/// Convolutional Neural Networks", arXiv:1509.09308, F(4x4,3x3). It takes four times fewer multiplications than the
/// direct sum, at some ten times its rounding error (1e-5 of the largest output), and four times the weights' memory.
struct WinogradWeights {
  Tensor u;  ///< [36, ceil(O/32), C, 32]
  int64_t inputs = 0, outputs = 0;

  WinogradWeights() = default;
  /// w [O,C,3,3], C and O multiples of 16; transformed in double.
  explicit WinogradWeights(const Tensor& w);
};

/// The convolution with stride 1 and padding 1. x [N,C,H,W] float32 on the CPU in channels-last memory, bias [O] or
/// undefined -> [N,O,H,W], channels last; with `relu`, negative values become 0.
Tensor winograd_convolution(const Tensor& x, const WinogradWeights& weights, const Tensor& bias, bool relu);

}  // namespace hpm
