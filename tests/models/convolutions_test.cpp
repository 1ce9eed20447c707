#include "hpm/models/image_convolution.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/conv.h>

#include "hpm/core/torch_impl.h"
#include "hpm/models/fused_convolution.h"
#include "hpm/models/operations.h"
#include "hpm/models/winograd.h"

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

Tensor channels_last(const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

TEST(Winograd, IsTheConvolutionForEveryShapeOfMapAndNumberOfChannels) {
  torch::manual_seed(5);
  for (const auto& [inputs, outputs] : {std::pair{16, 16}, {16, 48}, {48, 32}, {64, 64}})
    for (const auto& [height, width] : {std::pair{4, 4}, {5, 9}, {8, 6}, {17, 3}, {32, 32}})
      for (const int64_t rows : {1, 5}) {
        SCOPED_TRACE(fmt::format("{} -> {} channels, {}x{}, {} rows", inputs, outputs, height, width, rows));
        const auto x = at::randn({rows, inputs, height, width}), w = at::randn({outputs, inputs, 3, 3}) / 12,
                   bias = at::randn({outputs});
        const auto expected = at::conv2d(x.to(at::kDouble), w.to(at::kDouble), bias.to(at::kDouble), 1, 1);
        const WinogradWeights weights(w);
        const auto found = winograd_convolution(channels_last(x), weights, bias, false);
        const auto allowed = 5e-5 * expected.abs().max().item<double>();
        EXPECT_LT((found - expected).abs().max().item<double>(), allowed);
        const auto clipped = winograd_convolution(channels_last(x), weights, {}, true);
        const auto without = (expected - bias.view({1, -1, 1, 1})).relu();
        EXPECT_LT((clipped - without).abs().max().item<double>(), allowed);
      }
}

TEST(Winograd, ARowDoesNotDependOnItsBatch) {
  torch::manual_seed(6);
  const auto x = channels_last(at::randn({40, 32, 12, 12}));
  const WinogradWeights weights(at::randn({32, 32, 3, 3}));
  const auto all = winograd_convolution(x, weights, {}, false);
  for (const int64_t row : {0, 21, 39})
    EXPECT_TRUE(
        at::equal(winograd_convolution(channels_last(x.slice(0, row, row + 1)), weights, {}, false)[0], all[row]));
}

class Fused : public testing::Test {
 protected:
  Fused() {
    torch::manual_seed(7);
    torch::NoGradGuard guard;
    norm->running_mean.normal_(), norm->running_var.uniform_(.5, 2), norm->weight.normal_(), norm->bias.normal_();
    for (auto* parts : {&layer_parameters, &norm_parameters})
      for (auto& p : *parts) p.requires_grad_(false);
    norm->eval();
  }
  Tensor exact(const Tensor& at) { return norm->forward(layer->forward(at)).relu(); }
  /// Output and input gradient.
  std::pair<Tensor, Tensor> both(FusedConvolution& f, bool reference) {
    const ReferenceOperations guard(reference);
    const auto leaf = x.detach().requires_grad_();
    const auto y = f(leaf * 1, *layer, norm.get(), true);
    const auto weights = at::linspace(-1, 1, y.numel()).view(y.sizes());
    return {y.detach(), torch::autograd::grad({(y * weights).sum()}, {leaf})[0]};
  }
  torch::nn::Conv2d layer{torch::nn::Conv2dOptions(32, 48, 3).padding(1)};
  torch::nn::BatchNorm2d norm{48};
  std::vector<Tensor> layer_parameters = layer->parameters(), norm_parameters = norm->parameters();
  Tensor x = at::randn({3, 32, 10, 7});
};

TEST_F(Fused, InASearchValuesAndGradientsAreTheLayersToRounding) {
  FusedConvolution f, exact_one;
  const auto [y, g] = both(f, false);
  const auto [y0, g0] = both(exact_one, true);
  EXPECT_TRUE(at::allclose(y, y0, 1e-4, 1e-4));
  EXPECT_FALSE(at::equal(y, y0)) << "the fast way was not taken";
  EXPECT_TRUE(at::allclose(g, g0, 1e-4, 1e-4));
  const SearchOperations faster;
  EXPECT_TRUE(at::equal(f(x, *layer, norm.get(), true), y)) << "without a gradient";
}

TEST_F(Fused, OutsideASearchValuesAreTheLayersBitForBit) {
  FusedConvolution f;
  EXPECT_TRUE(at::equal(f(x, *layer, norm.get(), true), exact(x)));
  const SearchOperations faster;
  const ReferenceOperations guard(true);
  EXPECT_TRUE(at::equal(f(x, *layer, norm.get(), true), exact(x)));
}

TEST_F(Fused, FollowsItsWeightsWhenTheyAreWrittenToOrReplaced) {
  const SearchOperations faster;
  FusedConvolution f;
  f(x, *layer, norm.get(), true);
  {
    torch::NoGradGuard guard;
    layer->weight.mul_(-.5), norm->running_mean.add_(1);
  }
  EXPECT_TRUE(at::allclose(f(x, *layer, norm.get(), true), exact(x), 1e-4, 1e-4));
  layer->weight.set_data(layer->weight.flip(0).clone());
  EXPECT_TRUE(at::allclose(f(x, *layer, norm.get(), true), exact(x), 1e-4, 1e-4));
}

TEST_F(Fused, TrainingOtherTypesAndOtherLayersComputeThemselves) {
  const SearchOperations faster;
  FusedConvolution f;
  norm->train();
  const auto mean = norm->running_mean.clone();
  f(x, *layer, norm.get(), true);
  EXPECT_FALSE(at::equal(norm->running_mean, mean)) << "batch norm in training moves its statistics";
  norm->eval();
  layer->weight.requires_grad_();
  f(x, *layer, norm.get(), true).sum().backward();
  EXPECT_TRUE(layer->weight.grad().defined());
  layer->weight.requires_grad_(false);
  torch::nn::Conv2d strided(torch::nn::Conv2dOptions(32, 48, 3).padding(1).stride(2));
  for (auto& p : strided->parameters()) p.requires_grad_(false);
  EXPECT_TRUE(at::equal(f(x, *strided, nullptr, false), strided->forward(x)));
  layer->to(at::kDouble);
  EXPECT_TRUE(at::equal(f(x.to(at::kDouble), *layer, nullptr, false), layer->forward(x.to(at::kDouble))));
}

}  // namespace
}  // namespace hpm
