#include "hpm/models/modules_impl.h"

namespace hpm {
namespace {

// Initially true, because mold 1.10 misplaces the thread-local segment of a program in which it has zeros alone.
thread_local bool with_weights = true;

at::Tensor shape_alone(at::IntArrayRef shape) { return at::zeros({1}).expand(shape); }

}  // namespace

WithoutWeights::WithoutWeights() : before_(std::exchange(with_weights, false)) {}
WithoutWeights::~WithoutWeights() { with_weights = before_; }

torch::nn::Conv2d make_convolution(const torch::nn::Conv2dOptions& options) {
  if (with_weights) return torch::nn::Conv2d(options);
  // The constructor initialises the weights that it makes. So the layer is made small, and gets its size afterwards.
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
