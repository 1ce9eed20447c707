#include "hpm/models/image_convolution.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/conv.h>

#include "hpm/core/torch_impl.h"

namespace hpm {
namespace {

/// The image gradient of a weighted sum of the outputs.
Tensor gradient(torch::nn::Conv2d& layer, const Tensor& x, bool reference) {
  const ReferenceOperations guard(reference);
  const auto leaf = x.detach().requires_grad_();
  const auto y = image_convolution(leaf, *layer);
  const auto weights = at::linspace(-1, 1, y.numel(), y.options()).view(y.sizes());
  return torch::autograd::grad({(y * weights).sum()}, {leaf})[0];
}

torch::nn::Conv2d layer_of(int64_t channels, int64_t kernel, int64_t stride, int64_t padding, bool bias) {
  torch::nn::Conv2d layer(torch::nn::Conv2dOptions(channels, 8, kernel).stride(stride).padding(padding).bias(bias));
  for (auto& p : layer->parameters()) p.requires_grad_(false);
  return layer;
}

TEST(ImageConvolution, ValuesAreTheLayersOwnBitForBitAndGradientsAreToRounding) {
  torch::manual_seed(1);
  for (const int64_t channels : {1, 3})
    for (const auto& [kernel, stride, padding] :
         {std::tuple{3, 1, 1}, {4, 2, 1}, {7, 2, 3}, {3, 2, 1}, {5, 3, 0}, {1, 1, 0}})
      for (const int64_t rows : {1, 16, 35}) {
        SCOPED_TRACE(fmt::format("{} channels, k{} s{} p{}, {} rows", channels, kernel, stride, padding, rows));
        auto layer = layer_of(channels, kernel, stride, padding, kernel != 5);
        const auto x = at::rand({rows, channels, 17, 14});
        EXPECT_TRUE(at::equal(image_convolution(x.detach().requires_grad_(), *layer), layer->forward(x)));
        EXPECT_TRUE(at::allclose(gradient(layer, x, false), gradient(layer, x, true), 1e-5, 1e-6));
      }
}

TEST(ImageConvolution, ARowsGradientDoesNotDependOnItsBatch) {
  torch::manual_seed(2);
  auto layer = layer_of(3, 4, 2, 1, true);
  const auto x = at::rand({40, 3, 16, 16});
  const auto leaf = x.detach().requires_grad_();
  const auto all = torch::autograd::grad({image_convolution(leaf, *layer).square().sum()}, {leaf})[0];
  for (const int64_t row : {0, 17, 39}) {
    const auto one = x.slice(0, row, row + 1).detach().requires_grad_();
    const auto alone = torch::autograd::grad({image_convolution(one, *layer).square().sum()}, {one})[0];
    EXPECT_TRUE(at::allclose(alone[0], all[row], 1e-5, 1e-6));
  }
}

TEST(ImageConvolution, WeightsThatAreTrainedGetTheirGradients) {
  torch::manual_seed(3);
  torch::nn::Conv2d layer(torch::nn::Conv2dOptions(3, 8, 3));
  const auto x = at::rand({4, 3, 9, 9}).requires_grad_();
  image_convolution(x, *layer).sum().backward();
  EXPECT_TRUE(layer->weight.grad().defined());
  EXPECT_TRUE(x.grad().defined());
}

TEST(ImageConvolution, ReferenceOperationsHoldForTheirLifetimeAndNest) {
  EXPECT_FALSE(ReferenceOperations::wanted());
  {
    const ReferenceOperations outer(true);
    const ReferenceOperations inner(false);
    EXPECT_TRUE(ReferenceOperations::wanted());
  }
  EXPECT_FALSE(ReferenceOperations::wanted());
}

}  // namespace
}  // namespace hpm
