#include "hpm/models/resnet.h"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>

#include "hpm/core/error.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

namespace nn = torch::nn;

nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, bool bias) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(bias));
}

class BasicBlock : public nn::Module {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride, Shortcut kind) : in_(in), out_(out), stride_(stride) {
    conv1_ = register_module("conv1", convolution(in, out, 3, stride, false));
    bn1_ = register_module("bn1", nn::BatchNorm2d(out));
    conv2_ = register_module("conv2", convolution(out, out, 3, 1, false));
    bn2_ = register_module("bn2", nn::BatchNorm2d(out));
    const bool changes = stride != 1 || in != out;
    if (changes && kind == Shortcut::projection)
      shortcut_ = register_module("shortcut", nn::Sequential(convolution(in, out, 1, stride, false), nn::BatchNorm2d(out)));
  }
  Tensor forward(const Tensor& x) {
    const auto h = bn2_(conv2_(at::relu(bn1_(conv1_(x)))));
    return at::relu(h + bypass(x));
  }

 private:
  Tensor bypass(const Tensor& x) {
    if (!shortcut_.is_empty()) return shortcut_->forward(x);
    if (stride_ == 1 && in_ == out_) return x;
    const auto missing = out_ - in_;
    const auto sampled = x.slice(2, 0, c10::nullopt, stride_).slice(3, 0, c10::nullopt, stride_);
    return at::constant_pad_nd(sampled, {0, 0, 0, 0, missing / 2, missing - missing / 2});
  }
  int64_t in_, out_, stride_;
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  nn::Sequential shortcut_{nullptr};
};

class ResNet : public Network {
 public:
  ResNet(const ResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape)
      : spec_(spec), classes_(classes), input_shape_(input_shape) {
    int64_t width = spec.widths.front();
    conv1_ = register_module("conv1", convolution(input_shape[0], width, 3, 1, false));
    bn1_ = register_module("bn1", nn::BatchNorm2d(width));
    for (size_t s = 0; s < spec.blocks.size(); ++s) {
      nn::Sequential stage;
      for (int64_t b = 0; b < spec.blocks[s]; ++b) {
        stage->push_back(BasicBlock(width, spec.widths[s], s > 0 && b == 0 ? 2 : 1, spec.shortcut));
        width = spec.widths[s];
      }
      stages_.push_back(register_module("layer" + std::to_string(s + 1), stage));
    }
    linear_ = register_module("linear", nn::Linear(width, classes));
  }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<ResNet>(spec_, classes_, input_shape_); }
  nn::Linear head() override { return linear_; }
  Tensor features(const Tensor& x) override {
    auto h = at::relu(bn1_(conv1_(x)));
    for (auto& stage : stages_) h = stage->forward(h);
    return at::adaptive_avg_pool2d(h, {1, 1}).flatten(1);
  }

 private:
  ResNetSpec spec_;
  int64_t classes_;
  std::vector<int64_t> input_shape_;
  nn::Conv2d conv1_{nullptr};
  nn::BatchNorm2d bn1_{nullptr};
  std::vector<nn::Sequential> stages_;
  nn::Linear linear_{nullptr};
};

class PlainBlock : public nn::Module {
 public:
  PlainBlock(int64_t in, int64_t out, int64_t stride) {
    conv1_ = register_module("conv1", convolution(in, out, 3, stride, true));
    conv2_ = register_module("conv2", convolution(out, out, 3, 1, true));
    if (stride != 1 || in != out) shortcut_ = register_module("shortcut", nn::Sequential(convolution(in, out, 1, stride, true)));
  }
  Tensor forward(const Tensor& x) {
    const auto h = conv2_(at::relu(conv1_(x)));
    return at::relu(h + (shortcut_.is_empty() ? x : shortcut_->forward(x)));
  }

 private:
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  nn::Sequential shortcut_{nullptr};
};

int64_t halved(int64_t size) { return (size + 1) / 2; }

class PlainResNet : public Network {
 public:
  PlainResNet(const PlainResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape)
      : spec_(spec), classes_(classes), input_shape_(input_shape) {
    conv1_ = register_module("conv1", convolution(input_shape[0], spec.stem, 3, 2, true));
    int64_t width = spec.stem, height = halved(input_shape[1]), length = halved(input_shape[2]);
    for (size_t s = 0; s < spec.blocks.size(); ++s) {
      nn::Sequential stage;
      for (int64_t b = 0; b < spec.blocks[s]; ++b) {
        stage->push_back(PlainBlock(width, spec.widths[s], b == 0 ? 2 : 1));
        width = spec.widths[s];
      }
      height = halved(height), length = halved(length);
      stages_.push_back(register_module("layer" + std::to_string(s + 1), stage));
    }
    linear1_ = register_module("linear1", nn::Linear(width * height * length, spec.hidden));
    linear2_ = register_module("linear2", nn::Linear(spec.hidden, classes));
  }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<PlainResNet>(spec_, classes_, input_shape_); }
  nn::Linear head() override { return linear2_; }
  Tensor features(const Tensor& x) override {
    auto h = at::relu(conv1_(x));
    for (auto& stage : stages_) h = stage->forward(h);
    return at::relu(linear1_(h.flatten(1)));
  }

 private:
  PlainResNetSpec spec_;
  int64_t classes_;
  std::vector<int64_t> input_shape_;
  nn::Conv2d conv1_{nullptr};
  std::vector<nn::Sequential> stages_;
  nn::Linear linear1_{nullptr}, linear2_{nullptr};
};

}  // namespace

std::shared_ptr<Network> make_resnet(const ResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape) {
  return std::make_shared<ResNet>(spec, classes, input_shape);
}

std::shared_ptr<Network> make_plain_resnet(const PlainResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape) {
  return std::make_shared<PlainResNet>(spec, classes, input_shape);
}

}  // namespace hpm
