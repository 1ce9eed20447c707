#include "hpm/models/image_convolution.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/nn/modules/conv.h>

#include "hpm/models/operations.h"

namespace hpm {
namespace {

constexpr int64_t kChannels = 4;  // of images; for more channels the libraries are fast enough
constexpr int64_t kRows = 16;     // images whose columns are in the cache together

class ImageConvolution : public torch::autograd::Function<ImageConvolution> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, at::IntArrayRef stride, at::IntArrayRef padding) {
    context->saved_data["shape"] = x.sizes().vec();
    context->saved_data["weight"] = weight;
    context->saved_data["stride"] = stride.vec();
    context->saved_data["padding"] = padding.vec();
    return at::conv2d(x, weight, bias, stride, padding);
  }

  /// The gradient of the output [N,O,H',W'] -> the gradient of x.
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto shape = context->saved_data["shape"].toIntVector();
    const auto weight = context->saved_data["weight"].toTensor();
    const auto stride = context->saved_data["stride"].toIntVector(),
               padding = context->saved_data["padding"].toIntVector();
    const auto g = gradients[0].flatten(2);
    const auto turned = weight.flatten(1).t().contiguous();  // [C k k, O]
    auto out = at::empty(shape, g.options());
    for (int64_t begin = 0; begin < shape[0]; begin += kRows) {
      const auto columns = at::matmul(turned, g.slice(0, begin, begin + kRows));
      auto part = out.slice(0, begin, begin + kRows);
      at::col2im_out(part, columns, {shape[2], shape[3]}, {weight.size(2), weight.size(3)}, {1, 1}, padding, stride);
    }
    return {out, {}, {}, {}, {}};  // one entry for each argument of forward
  }
};

/// Whether only the images' gradient is wanted, and of a layer that `ImageConvolution` can compute.
bool images_alone(const Tensor& x, torch::nn::Conv2dImpl& layer) {
  const auto& o = layer.options;
  return at::GradMode::is_enabled() && x.requires_grad() && fast_operations(x) && !layer.weight.requires_grad() &&
         !(layer.bias.defined() && layer.bias.requires_grad()) && x.scalar_type() == at::kFloat &&
         layer.weight.scalar_type() == at::kFloat && x.size(1) <= kChannels && o.groups() == 1 &&
         std::holds_alternative<torch::enumtype::kZeros>(o.padding_mode()) && o.dilation()->at(0) == 1 &&
         o.dilation()->at(1) == 1 && std::holds_alternative<torch::ExpandingArray<2>>(o.padding()) &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

}  // namespace

Tensor image_convolution(const Tensor& images, torch::nn::Conv2dImpl& layer, bool channels_last) {
  const auto x = channels_last && fast_operations(images) ? images.contiguous(at::MemoryFormat::ChannelsLast) : images;
  if (!images_alone(x, layer)) return layer.forward(x);
  return ImageConvolution::apply(x, layer.weight, layer.bias.defined() ? std::optional(layer.bias) : std::nullopt,
                                 at::IntArrayRef(*layer.options.stride()),
                                 at::IntArrayRef(*std::get<torch::ExpandingArray<2>>(layer.options.padding())));
}

}  // namespace hpm
