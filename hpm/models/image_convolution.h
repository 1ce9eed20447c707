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
/// Its input has few channels, and the gradient with respect to them is what an attack asks for. Convolution libraries
/// are slow there (their inner loops run over channels); a matrix product and col2im, a few images at a time so that
/// the columns stay in the cache, take a half to a fifth of the time. On the CPU, in float32, with at most four
/// channels and fixed weights the gradient is computed so; in every other case by the library. Last bits differ between
/// the two.
///
/// With `channels_last` the outputs of an attack's search (`fast_operations`) lie so in memory, as FusedConvolution
/// wants them; with three channels in, that takes an eighth of the time, too.
Tensor image_convolution(const Tensor& x, torch::nn::Conv2dImpl& layer, bool channels_last = false);

}  // namespace hpm
