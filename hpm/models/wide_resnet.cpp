#include "hpm/models/wide_resnet.h"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>

#include <charconv>

#include "hpm/core/error.h"
#include "hpm/models/fused_convolution.h"
#include "hpm/models/image_convolution.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

namespace nn = torch::nn;

nn::Conv2d convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  return make_convolution(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(padding).bias(false));
}

int64_t blocks_of(int64_t depth) {
  require(depth >= 10 && (depth - 4) % 6 == 0, "wide_resnet: needs a depth of 6n + 4, but got {}", depth);
  return (depth - 4) / 6;
}

class WideBlock : public nn::Module {
 public:
  WideBlock(int64_t in, int64_t out, int64_t stride) {
    bn1_ = register_module("bn1", nn::BatchNorm2d(in));
    conv1_ = register_module("conv1", convolution(in, out, 3, stride, 1));
    bn2_ = register_module("bn2", nn::BatchNorm2d(out));
    conv2_ = register_module("conv2", convolution(out, out, 3, 1, 1));
    if (in != out) shortcut_ = register_module("convShortcut", convolution(in, out, 1, stride, 0));
  }
  Tensor forward(const Tensor& x) {
    const auto active = bn1_(x).relu_();
    const auto h = fused2_(fused1_(active, *conv1_, bn2_.get(), true), *conv2_, nullptr, false);
    return h + (shortcut_.is_empty() ? x : shortcut_(active));
  }

 private:
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, shortcut_{nullptr};
  FusedConvolution fused1_, fused2_;
};

class WideStageImpl : public nn::Module {
 public:
  WideStageImpl(int64_t blocks, int64_t in, int64_t out, int64_t stride) {
    for (int64_t b = 0; b < blocks; ++b) layer_->push_back(WideBlock(b == 0 ? in : out, out, b == 0 ? stride : 1));
    register_module("layer", layer_);
  }
  Tensor forward(const Tensor& x) { return layer_->forward(x); }

 private:
  nn::Sequential layer_;
};
TORCH_MODULE(WideStage);

class WideResNet : public Network {
 public:
  WideResNet(const WideResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape)
      : spec_(spec), classes_(classes), input_shape_(input_shape) {
    const int64_t blocks = blocks_of(spec.depth), widths[] = {16, 16 * spec.width, 32 * spec.width, 64 * spec.width};
    conv1_ = register_module("conv1", convolution(input_shape[0], 16, 3, 1, 1));
    for (size_t s = 1; s <= 3; ++s) {
      const auto name = "block" + std::to_string(s);
      stages_.push_back(register_module(name, WideStage(blocks, widths[s - 1], widths[s], s == 1 ? 1 : 2)));
      if (s == 1 && spec.sub_block1) register_module("sub_block1", WideStage(blocks, widths[0], widths[1], 1));
    }
    bn1_ = register_module("bn1", nn::BatchNorm2d(widths[3]));
    fc_ = register_module("fc", make_linear(nn::LinearOptions(widths[3], classes).bias(spec.bias)));
  }
  std::shared_ptr<Network> fresh() const override {
    return std::make_shared<WideResNet>(spec_, classes_, input_shape_);
  }
  nn::Linear head() override { return fc_; }
  Tensor features(const Tensor& x) override {
    auto h = image_convolution(x, *conv1_, true);
    for (auto& stage : stages_) h = stage->forward(h);
    return at::adaptive_avg_pool2d(bn1_(h).relu_(), {1, 1}).flatten(1);
  }

 private:
  WideResNetSpec spec_;
  int64_t classes_;
  std::vector<int64_t> input_shape_;
  nn::Conv2d conv1_{nullptr};
  std::vector<WideStage> stages_;
  nn::BatchNorm2d bn1_{nullptr};
  nn::Linear fc_{nullptr};
};

// ---- DeepMind's -----------------------------------------------------------------------------------------------------

using Activation = Tensor (*)(const Tensor&);
Tensor relu(const Tensor& x) { return at::relu(x); }
Tensor silu(const Tensor& x) { return at::silu(x); }

/// TensorFlow's SAME for a 3x3 convolution: stride 2 on maps of even size pads one row below and one column to the
/// right.
Tensor padded(const Tensor& x, int64_t stride) { return stride == 2 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x; }

class DeepMindBlock : public nn::Module {
 public:
  DeepMindBlock(int64_t in, int64_t out, int64_t stride, Activation activation, const std::string& conv, int64_t first)
      : stride_(stride), activation_(activation) {
    const auto name = [&](int64_t i) { return conv + std::to_string(first + i); };
    bn0_ = register_module("batchnorm_0", nn::BatchNorm2d(in));
    conv0_ = register_module(name(0), convolution(in, out, 3, stride, stride == 2 ? 0 : 1));
    bn1_ = register_module("batchnorm_1", nn::BatchNorm2d(out));
    conv1_ = register_module(name(1), convolution(out, out, 3, 1, 1));
    // The PreActResNet's shortcut is a 3x3 convolution of the input, the wide one's 1x1 of the first activation.
    pads_shortcut_ = first > 0;
    if (in != out || stride != 1)
      shortcut_ = register_module("shortcut", convolution(in, out, pads_shortcut_ ? 3 : 1, stride, 0));
  }
  Tensor forward(const Tensor& x) {
    const auto active = activation_(bn0_(x));
    const auto h =
        fused1_(activation_(fused0_(padded(active, stride_), *conv0_, bn1_.get(), false)), *conv1_, nullptr, false);
    if (shortcut_.is_empty()) return h + x;
    return h + shortcut_(pads_shortcut_ ? padded(x, stride_) : active);
  }

 private:
  int64_t stride_;
  bool pads_shortcut_;
  Activation activation_;
  nn::BatchNorm2d bn0_{nullptr}, bn1_{nullptr};
  nn::Conv2d conv0_{nullptr}, conv1_{nullptr}, shortcut_{nullptr};
  FusedConvolution fused0_, fused1_;
};

class DeepMindStageImpl : public nn::Module {
 public:
  DeepMindStageImpl(int64_t blocks, int64_t in, int64_t out, int64_t stride, Activation activation) {
    for (int64_t b = 0; b < blocks; ++b)
      block_->push_back(DeepMindBlock(b == 0 ? in : out, out, b == 0 ? stride : 1, activation, "conv_", 0));
    register_module("block", block_);
  }
  Tensor forward(const Tensor& x) { return block_->forward(x); }

 private:
  nn::Sequential block_;
};
TORCH_MODULE(DeepMindStage);

class DeepMindResNet : public Network {
 public:
  DeepMindResNet(const DeepMindSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape)
      : spec_(spec),
        classes_(classes),
        input_shape_(input_shape),
        activation_(spec.activation == "relu" ? relu : silu) {
    require(spec.activation == "relu" || spec.activation == "silu", "activation: needs relu or silu, but got \"{}\"",
            spec.activation);
    spec.wide ? make_wide() : make_preactivation();
    norm_ = register_module("batchnorm", nn::BatchNorm2d(width_));
    logits_ = register_module("logits", make_linear({width_, classes}));
  }
  std::shared_ptr<Network> fresh() const override {
    return std::make_shared<DeepMindResNet>(spec_, classes_, input_shape_);
  }
  nn::Linear head() override { return logits_; }
  Tensor features(const Tensor& x) override {
    auto h = image_convolution(x, *stem_, true);
    for (const auto& stage : stages_) h = stage(h);
    return at::adaptive_avg_pool2d(activation_(norm_(h)), {1, 1}).flatten(1);
  }

 private:
  void make_wide() {
    const int64_t blocks = blocks_of(spec_.depth),
                  widths[] = {16, 16 * spec_.width, 32 * spec_.width, 64 * spec_.width};
    stem_ = register_module("init_conv", convolution(input_shape_[0], 16, 3, 1, 1));
    nn::ModuleList all;
    for (int s = 1; s <= 3; ++s) {
      DeepMindStage stage(blocks, widths[s - 1], widths[s], s == 1 ? 1 : 2, activation_);
      all->push_back(stage);
      stages_.push_back([stage](const Tensor& x) mutable { return stage->forward(x); });
    }
    register_module("layer", all);
    width_ = widths[3];
  }
  void make_preactivation() {
    stem_ = register_module("conv_2d", convolution(input_shape_[0], 64, 3, 1, 1));
    int64_t in = 64;
    for (int s = 0; s < 4; ++s) {
      const int64_t out = 64 << s;
      nn::Sequential stage;
      for (int b = 0; b < 2; ++b)
        stage->push_back(DeepMindBlock(b == 0 ? in : out, out, b == 0 && s > 0 ? 2 : 1, activation_, "conv_2d_", 1));
      register_module("layer_" + std::to_string(s), stage);
      stages_.push_back([stage](const Tensor& x) mutable { return stage->forward(x); });
      in = out;
    }
    width_ = in;
  }

  DeepMindSpec spec_;
  int64_t classes_;
  std::vector<int64_t> input_shape_;
  Activation activation_;
  int64_t width_ = 0;
  nn::Conv2d stem_{nullptr};
  std::vector<std::function<Tensor(const Tensor&)>> stages_;
  nn::BatchNorm2d norm_{nullptr};
  nn::Linear logits_{nullptr};
};

}  // namespace

std::shared_ptr<Network> make_wide_resnet(const WideResNetSpec& spec, int64_t classes,
                                          const std::vector<int64_t>& input_shape) {
  return std::make_shared<WideResNet>(spec, classes, input_shape);
}

namespace {

/// The number of entries <prefix><i><suffix>, i = 0, 1, ...
int64_t count_of_keys(const KeyShapes& keys, const std::string& prefix, const std::string& suffix) {
  int64_t n = 0;
  while (keys.contains(prefix + std::to_string(n) + suffix)) ++n;
  return n;
}

int64_t factor_of(const KeyShapes& keys, const std::string& key) {
  const auto found = keys.find(key);
  return found == keys.end() || found->second.empty() ? 0 : found->second[0] / 16;
}

}  // namespace

std::string recognise_wide_resnet(const KeyShapes& keys) {
  if (keys.contains("block1.layer.0.conv1.weight")) {
    const auto blocks = count_of_keys(keys, "block1.layer.", ".conv1.weight");
    return fmt::format("wrn{}_{}{}{}", 6 * blocks + 4, factor_of(keys, "block1.layer.0.conv1.weight"),
                       keys.contains("fc.bias") ? "" : "_nobias",
                       keys.contains("sub_block1.layer.0.conv1.weight") ? "_sub_block1" : "");
  }
  if (keys.contains("init_conv.weight") && keys.contains("layer.0.block.0.conv_0.weight")) {
    const auto blocks = count_of_keys(keys, "layer.0.block.", ".conv_0.weight");
    return fmt::format("dm_wrn{}_{}", 6 * blocks + 4, factor_of(keys, "layer.0.block.0.conv_0.weight"));
  }
  if (keys.contains("conv_2d.weight") && keys.contains("layer_0.0.conv_2d_1.weight")) return "dm_preact_resnet18";
  return {};
}

namespace {

/// "28_10" -> 28, 10; false for anything else. Limits keep a mistyped name from asking for all memory.
bool parse_size(std::string_view text, int64_t& depth, int64_t& width) {
  const auto number = [&](int64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return error == std::errc() && value > 0 && value <= 10000;
  };
  if (!number(depth) || !text.starts_with('_')) return false;
  text.remove_prefix(1);
  return number(width) && text.empty();
}

}  // namespace

std::shared_ptr<Network> make_wide_resnet(const std::string& name, int64_t classes,
                                          const std::vector<int64_t>& input_shape) {
  std::string_view rest = name;
  const auto take = [&](std::string_view suffix) {
    if (!rest.ends_with(suffix)) return false;
    rest.remove_suffix(suffix.size());
    return true;
  };
  if (name.starts_with("dm_")) {
    DeepMindSpec spec{.activation = take("_relu") ? "relu" : "silu"};
    spec.wide = rest != "dm_preact_resnet18";
    constexpr std::string_view prefix = "dm_wrn";
    const bool known =
        !spec.wide || (rest.starts_with(prefix) && parse_size(rest.substr(prefix.size()), spec.depth, spec.width));
    return known ? make_deepmind_resnet(spec, classes, input_shape) : nullptr;
  }
  WideResNetSpec spec;
  spec.sub_block1 = take("_sub_block1");
  spec.bias = !take("_nobias");
  constexpr std::string_view prefix = "wrn";
  if (!rest.starts_with(prefix) || !parse_size(rest.substr(prefix.size()), spec.depth, spec.width)) return nullptr;
  return make_wide_resnet(spec, classes, input_shape);
}

std::shared_ptr<Network> make_deepmind_resnet(const DeepMindSpec& spec, int64_t classes,
                                              const std::vector<int64_t>& input_shape) {
  return std::make_shared<DeepMindResNet>(spec, classes, input_shape);
}

}  // namespace hpm
