#include "hpm/models/resnet.h"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>

#include "hpm/core/error.h"
#include "hpm/models/fused_convolution.h"
#include "hpm/models/image_convolution.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

namespace nn = torch::nn;

nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, bool bias) {
  return make_convolution(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(bias));
}

/// A block's place in its network.
struct Place {
  int64_t in, out, stride;  ///< out: of the whole block
  const ResNetSpec& spec;
  bool changes() const { return stride != 1 || in != out; }
};

/// The shortcut: maps x to the shape of the block's output.
class Bypass {
 public:
  void make(nn::Module& owner, const Place& p) {
    place_in_ = p.in, place_out_ = p.out, stride_ = p.stride, changes_ = p.changes();
    if (!changes_ || p.spec.shortcut == Shortcut::padding) return;
    nn::Sequential layers(convolution(p.in, p.out, 1, p.stride, false));
    if (p.spec.block != Block::preactivation) layers->push_back(nn::BatchNorm2d(p.out));
    projection_ = owner.register_module(p.spec.imagenet ? "downsample" : "shortcut", layers);
  }
  bool projects() const { return !projection_.is_empty(); }
  Tensor forward(const Tensor& x) {
    if (projects()) return projection_->forward(x);
    if (!changes_) return x;
    const auto missing = place_out_ - place_in_;
    const auto sampled = x.slice(2, 0, c10::nullopt, stride_).slice(3, 0, c10::nullopt, stride_);
    return at::constant_pad_nd(sampled, {0, 0, 0, 0, missing / 2, missing - missing / 2});
  }

 private:
  int64_t place_in_ = 0, place_out_ = 0, stride_ = 1;
  bool changes_ = false;
  nn::Sequential projection_{nullptr};
};

class BasicBlock : public nn::Module {
 public:
  explicit BasicBlock(const Place& p) {
    conv1_ = register_module("conv1", convolution(p.in, p.out, 3, p.stride, false));
    bn1_ = register_module("bn1", nn::BatchNorm2d(p.out));
    conv2_ = register_module("conv2", convolution(p.out, p.out, 3, 1, false));
    bn2_ = register_module("bn2", nn::BatchNorm2d(p.out));
    bypass_.make(*this, p);
  }
  Tensor forward(const Tensor& x) {
    const auto h = fused2_(fused1_(x, *conv1_, bn1_.get(), true), *conv2_, bn2_.get(), false);
    return (h + bypass_.forward(x)).relu_();
  }

 private:
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  FusedConvolution fused1_, fused2_;
  Bypass bypass_;
};

class Bottleneck : public nn::Module {
 public:
  explicit Bottleneck(const Place& p) {
    const int64_t inner = p.out / 4 * p.spec.wider;
    conv1_ = register_module("conv1", convolution(p.in, inner, 1, 1, false));
    bn1_ = register_module("bn1", nn::BatchNorm2d(inner));
    conv2_ = register_module("conv2", convolution(inner, inner, 3, p.stride, false));
    bn2_ = register_module("bn2", nn::BatchNorm2d(inner));
    conv3_ = register_module("conv3", convolution(inner, p.out, 1, 1, false));
    bn3_ = register_module("bn3", nn::BatchNorm2d(p.out));
    bypass_.make(*this, p);
  }
  Tensor forward(const Tensor& x) {
    const auto h = fused2_(bn1_(conv1_(x)).relu_(), *conv2_, bn2_.get(), true);
    return (bn3_(conv3_(h)) + bypass_.forward(x)).relu_();
  }

 private:
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr};
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr}, bn3_{nullptr};
  FusedConvolution fused2_;
  Bypass bypass_;
};

class PreactivationBlock : public nn::Module {
 public:
  explicit PreactivationBlock(const Place& p) {
    bn1_ = register_module("bn1", nn::BatchNorm2d(p.in));
    conv1_ = register_module("conv1", convolution(p.in, p.out, 3, p.stride, false));
    bn2_ = register_module("bn2", nn::BatchNorm2d(p.out));
    conv2_ = register_module("conv2", convolution(p.out, p.out, 3, 1, false));
    bypass_.make(*this, p);
    from_active_ = bypass_.projects() && p.spec.norm_before_head;
  }
  Tensor forward(const Tensor& x) {
    const auto active = bn1_(x).relu_();
    const auto h = fused2_(fused1_(active, *conv1_, bn2_.get(), true), *conv2_, nullptr, false);
    return h + bypass_.forward(from_active_ ? active : x);
  }

 private:
  bool from_active_;
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  FusedConvolution fused1_, fused2_;
  Bypass bypass_;
};

void add_block(nn::Sequential& stage, const Place& place) {
  switch (place.spec.block) {
    case Block::basic: return stage->push_back(BasicBlock(place));
    case Block::bottleneck: return stage->push_back(Bottleneck(place));
    default: return stage->push_back(PreactivationBlock(place));
  }
}

class ResNet : public Network {
 public:
  ResNet(const ResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape)
      : spec_(spec), classes_(classes), input_shape_(input_shape) {
    int64_t width = spec.widths.front();
    const bool imagenet = spec.imagenet;
    conv1_ = register_module("conv1", convolution(input_shape[0], width, imagenet ? 7 : 3, imagenet ? 2 : 1, false));
    if (spec.block != Block::preactivation) bn1_ = register_module("bn1", nn::BatchNorm2d(width));
    for (size_t s = 0; s < spec.blocks.size(); ++s) {
      nn::Sequential stage;
      const int64_t out = spec.widths[s] * (spec.block == Block::bottleneck ? 4 : 1);
      for (int64_t b = 0; b < spec.blocks[s]; ++b) {
        add_block(stage, {width, out, s > 0 && b == 0 ? 2 : 1, spec_});
        width = out;
      }
      stages_.push_back(register_module("layer" + std::to_string(s + 1), stage));
    }
    if (spec.norm_before_head) bn_ = register_module("bn", nn::BatchNorm2d(width));
    linear_ = register_module(imagenet ? "fc" : "linear", make_linear({width, classes}));
  }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<ResNet>(spec_, classes_, input_shape_); }
  nn::Linear head() override { return linear_; }
  Tensor features(const Tensor& x) override {
    auto h = image_convolution(x, *conv1_, true);
    if (!bn1_.is_empty()) h = bn1_(h).relu_();
    if (spec_.imagenet) h = at::max_pool2d(h, {3, 3}, {2, 2}, {1, 1});
    for (auto& stage : stages_) h = stage->forward(h);
    if (!bn_.is_empty()) h = bn_(h).relu_();
    return at::adaptive_avg_pool2d(h, {1, 1}).flatten(1);
  }

 private:
  ResNetSpec spec_;
  int64_t classes_;
  std::vector<int64_t> input_shape_;
  nn::Conv2d conv1_{nullptr};
  nn::BatchNorm2d bn1_{nullptr}, bn_{nullptr};
  std::vector<nn::Sequential> stages_;
  nn::Linear linear_{nullptr};
};

class PlainBlock : public nn::Module {
 public:
  PlainBlock(int64_t in, int64_t out, int64_t stride) {
    conv1_ = register_module("conv1", convolution(in, out, 3, stride, true));
    conv2_ = register_module("conv2", convolution(out, out, 3, 1, true));
    if (stride != 1 || in != out)
      shortcut_ = register_module("shortcut", nn::Sequential(convolution(in, out, 1, stride, true)));
  }
  Tensor forward(const Tensor& x) {
    const auto h = fused2_(fused1_(x, *conv1_, nullptr, true), *conv2_, nullptr, false);
    return (h + (shortcut_.is_empty() ? x : shortcut_->forward(x))).relu_();
  }

 private:
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  FusedConvolution fused1_, fused2_;
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
    linear1_ = register_module("linear1", make_linear({width * height * length, spec.hidden}));
    linear2_ = register_module("linear2", make_linear({spec.hidden, classes}));
  }
  std::shared_ptr<Network> fresh() const override {
    return std::make_shared<PlainResNet>(spec_, classes_, input_shape_);
  }
  nn::Linear head() override { return linear2_; }
  Tensor features(const Tensor& x) override {
    auto h = image_convolution(x, *conv1_, true).relu_();
    for (auto& stage : stages_) h = stage->forward(h);
    return linear1_(h.flatten(1)).relu_();
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

std::optional<ResNetSpec> recognise_resnet(const std::map<std::string, std::vector<int64_t>>& keys) {
  const auto rows = [&](const std::string& key) {
    const auto found = keys.find(key);
    return found == keys.end() || found->second.empty() ? 0 : found->second[0];
  };
  ResNetSpec spec;
  spec.imagenet = keys.contains("fc.weight");
  if (!keys.contains("conv1.weight") || !keys.contains("layer1.0.bn2.weight")) return std::nullopt;
  spec.block = keys.contains("layer1.0.conv3.weight") ? Block::bottleneck
               : keys.contains("bn1.weight")          ? Block::basic
                                                      : Block::preactivation;
  spec.norm_before_head = keys.contains("bn.weight");
  const std::string last = spec.block == Block::bottleneck ? ".conv3.weight" : ".conv2.weight";
  bool projects = false;
  for (int64_t s = 1; keys.contains(fmt::format("layer{}.0{}", s, last)); ++s) {
    int64_t blocks = 0;
    while (keys.contains(fmt::format("layer{}.{}{}", s, blocks, last))) ++blocks;
    spec.blocks.push_back(blocks);
    spec.widths.push_back(rows(fmt::format("layer{}.0{}", s, last)) / (spec.block == Block::bottleneck ? 4 : 1));
    projects =
        projects || keys.contains(fmt::format("layer{}.0.{}.0.weight", s, spec.imagenet ? "downsample" : "shortcut"));
  }
  spec.shortcut = projects ? Shortcut::projection : Shortcut::padding;
  if (spec.block == Block::bottleneck)
    spec.wider = rows("layer1.0.conv1.weight") / std::max<int64_t>(spec.widths.front(), 1);
  return spec;
}

std::shared_ptr<Network> make_plain_resnet(const PlainResNetSpec& spec, int64_t classes,
                                           const std::vector<int64_t>& input_shape) {
  return std::make_shared<PlainResNet>(spec, classes, input_shape);
}

}  // namespace hpm
