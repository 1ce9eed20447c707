// defines: image_convolution()
#pragma once
#include <ATen/core/Tensor.h>

namespace torch::nn {
class Conv2dImpl;
}

namespace hpm {

using at::Tensor;

/// A network's first convolution: `layer` on images x [N,C,H,W] -> [N,O,H',W'].
///
/// An attack asks for the gradient with respect to x. Convolution libraries are slow to give it here, because their
/// inner loops run over channels, and an image has few. A matrix product and col2im take a half to a fifth of the time,
/// on a few images at a time so that the columns stay in the cache. The gradient is computed in this way on the CPU, in
/// float32, with at most four channels and fixed weights, and by the library in every other case. The last bits of the
/// two differ.
///
/// With `channels_last` the output of a pass of an attack's search (`fast_operations`) is in channels-last memory, as
/// FusedConvolution wants it. With three channels in, this also takes an eighth of the time.
Tensor image_convolution(const Tensor& x, torch::nn::Conv2dImpl& layer, bool channels_last = false);

}  // namespace hpm
