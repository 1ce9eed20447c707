#include "hpm/models/modules_impl.h"

namespace hpm {
namespace {

// Not zero: mold 1.10 misplaces the segment of a program whose only thread-local bytes are zeros.
thread_local bool with_weights = true;

at::Tensor shape_alone(at::IntArrayRef shape) { return at::zeros({1}).expand(shape); }

}  // namespace

WithoutWeights::WithoutWeights() : before_(std::exchange(with_weights, false)) {}
WithoutWeights::~WithoutWeights() { with_weights = before_; }

torch::nn::Conv2d make_convolution(const torch::nn::Conv2dOptions& options) {
  if (with_weights) return torch::nn::Conv2d(options);
  // The layer is made small, then told its size: its constructor initialises what it makes.
  auto small = options;
  torch::nn::Conv2d layer(small.in_channels(1).out_channels(1));
  layer->options.in_channels(options.in_channels()).out_channels(options.out_channels());
  const auto& kernel = *options.kernel_size();
  layer->weight.set_data(shape_alone({options.out_channels(), options.in_channels(), kernel[0], kernel[1]}));
  if (options.bias()) layer->bias.set_data(shape_alone({options.out_channels()}));
  return layer;
}

torch::nn::Linear make_linear(const torch::nn::LinearOptions& options) {
  if (with_weights) return torch::nn::Linear(options);
  auto small = options;
  torch::nn::Linear layer(small.in_features(1).out_features(1));
  layer->options.in_features(options.in_features()).out_features(options.out_features());
  layer->weight.set_data(shape_alone({options.out_features(), options.in_features()}));
  if (options.bias()) layer->bias.set_data(shape_alone({options.out_features()}));
  return layer;
}

}  // namespace hpm
