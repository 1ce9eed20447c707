#include "hpm/models/fused_convolution.h"

#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "hpm/core/stamp_impl.h"
#include "hpm/models/operations.h"
#include "hpm/models/winograd.h"

namespace hpm {
namespace {

namespace nn = torch::nn;

/// Larger layers stay with oneDNN: transformed weights for both directions take 32 bytes a weight.
constexpr int64_t kMostWeights = 9 * 256 * 256;

bool is_fixed(const Tensor& t) { return !t.defined() || !t.requires_grad(); }

/// Whether the layer is 3x3 with stride 1 and padding 1, its channels fill whole registers, and the map fills a tile.
bool suits(const Tensor& x, nn::Conv2dImpl& layer) {
  const auto& o = layer.options;
  const auto all = [](const torch::ExpandingArray<2>& values, int64_t value) {
    return values->at(0) == value && values->at(1) == value;
  };
  return all(o.kernel_size(), 3) && all(o.stride(), 1) && all(o.dilation(), 1) && o.groups() == 1 &&
         std::holds_alternative<torch::ExpandingArray<2>>(o.padding()) &&
         all(std::get<torch::ExpandingArray<2>>(o.padding()), 1) &&
         std::holds_alternative<torch::enumtype::kZeros>(o.padding_mode()) && o.in_channels() % 16 == 0 &&
         o.out_channels() % 16 == 0 && layer.weight.numel() <= kMostWeights && x.size(2) >= 4 && x.size(3) >= 4;
}

/// Nothing of the layers is differentiated, and the batch norm is a fixed affine function.
bool may_be_folded(const Tensor& x, nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  if (!fast_operations(x) || layer.weight.scalar_type() != at::kFloat || !is_fixed(layer.weight) ||
      !is_fixed(layer.bias))
    return false;
  return !norm || (!norm->is_training() && norm->running_mean.defined() && norm->weight.defined() &&
                   is_fixed(norm->weight) && is_fixed(norm->bias));
}

bool may_be_fused(const Tensor& x, nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  return x.scalar_type() == at::kFloat && !at::autocast::is_autocast_enabled(at::kCPU) &&
         may_be_folded(x, layer, norm) && suits(x, layer);
}

bool may_be_reduced(const Tensor& x, nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  return at::autocast::is_autocast_enabled(at::kCPU) && at::autocast::get_autocast_dtype(at::kCPU) == at::kBFloat16 &&
         may_be_folded(x, layer, norm) &&
         std::holds_alternative<torch::enumtype::kZeros>(layer.options.padding_mode()) &&
         std::holds_alternative<torch::ExpandingArray<2>>(layer.options.padding());
}

std::array<Tensor, 6> parts_of(nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  if (!norm) return {layer.weight, layer.bias};
  return {layer.weight, layer.bias, norm->weight, norm->bias, norm->running_mean, norm->running_var};
}

}  // namespace

namespace {

/// Tells whether the six tensors are as they were.
struct Stamps {
  std::array<Stamp, 6> of;
  explicit Stamps(const std::array<Tensor, 6>& parts) {
    std::transform(parts.begin(), parts.end(), of.begin(), [](const Tensor& t) { return Stamp(t); });
  }
  bool hold(const std::array<Tensor, 6>& parts) const {
    return std::equal(of.begin(), of.end(), parts.begin(),
                      [](const auto& stamp, const auto& t) { return stamp.holds(t); });
  }
};

/// y = g (w * x + b - mean) / sqrt(var + eps) + beta: weights and bias of one convolution, computed in double.
std::pair<Tensor, Tensor> fold(nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  auto w = layer.weight.to(at::kDouble), b = layer.bias.defined() ? layer.bias.to(at::kDouble) : Tensor();
  if (!norm) return {w, b};
  const auto scale = norm->weight.to(at::kDouble) / (norm->running_var.to(at::kDouble) + norm->options.eps()).sqrt();
  const auto centre = norm->running_mean.to(at::kDouble);
  return {w * scale.view({-1, 1, 1, 1}), (b.defined() ? b - centre : -centre) * scale + norm->bias.to(at::kDouble)};
}

}  // namespace

struct FusedConvolution::Folded {
  Stamps of;
  Tensor bias;
  std::shared_ptr<const WinogradWeights> forward, backward;  // shared with graphs that are not yet differentiated
};

struct FusedConvolution::Reduced {
  Stamps of;
  Tensor weight, bias;  // bfloat16
};

FusedConvolution::FusedConvolution() = default;
FusedConvolution::~FusedConvolution() = default;
FusedConvolution::FusedConvolution(FusedConvolution&&) noexcept = default;

const FusedConvolution::Folded& FusedConvolution::folded(nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  const auto parts = parts_of(layer, norm);
  if (folded_ && folded_->of.hold(parts)) return *folded_;
  torch::NoGradGuard guard;
  const auto [w, b] = fold(layer, norm);
  folded_ = std::make_unique<Folded>(Folded{Stamps(parts), b.defined() ? b.to(at::kFloat) : Tensor(),
                                            std::make_shared<WinogradWeights>(w),
                                            std::make_shared<WinogradWeights>(w.flip({2, 3}).transpose(0, 1))});
  return *folded_;
}

const FusedConvolution::Reduced& FusedConvolution::reduced(nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm) {
  const auto parts = parts_of(layer, norm);
  if (reduced_ && reduced_->of.hold(parts)) return *reduced_;
  torch::NoGradGuard guard;
  const auto [w, b] = fold(layer, norm);
  reduced_ =
      std::make_unique<Reduced>(Reduced{Stamps(parts), w.to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast),
                                        b.defined() ? b.to(at::kBFloat16) : Tensor()});
  return *reduced_;
}

namespace {

using Weights = std::shared_ptr<const WinogradWeights>;

class WinogradFunction : public torch::autograd::Function<WinogradFunction> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const Weights& weights,
                        const Weights& turned, const std::optional<Tensor>& bias, bool relu) {
    auto y =
        winograd_convolution(x.contiguous(at::MemoryFormat::ChannelsLast), *weights, bias.value_or(Tensor()), relu);
    context->saved_data["relu"] = relu;
    context->saved_data["u"] = turned->u;
    context->saved_data["inputs"] = turned->inputs;
    context->saved_data["outputs"] = turned->outputs;
    if (relu) context->save_for_backward({y});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    auto g = gradients[0];
    if (context->saved_data["relu"].toBool()) g = at::threshold_backward(g, context->get_saved_variables()[0], 0);
    WinogradWeights turned;
    turned.u = context->saved_data["u"].toTensor();
    turned.inputs = context->saved_data["inputs"].toInt(), turned.outputs = context->saved_data["outputs"].toInt();
    return {winograd_convolution(g.contiguous(at::MemoryFormat::ChannelsLast), turned, {}, false), {}, {}, {}, {}};
  }
};

}  // namespace

Tensor FusedConvolution::operator()(const Tensor& x, nn::Conv2dImpl& layer, nn::BatchNorm2dImpl* norm, bool relu) {
  if (may_be_reduced(x, layer, norm)) {
    const auto& r = reduced(layer, norm);
    const auto& o = layer.options;
    auto y = at::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), r.weight, r.bias, at::IntArrayRef(*o.stride()),
                        at::IntArrayRef(*std::get<torch::ExpandingArray<2>>(o.padding())),
                        at::IntArrayRef(*o.dilation()), o.groups());
    return relu ? y.relu_() : y;
  }
  if (!may_be_fused(x, layer, norm)) {
    // With channels-last images oneDNN reorders the weights in every pass. Where the weights are larger than the
    // images, we reorder the images instead.
    const bool turn = layer.weight.numel() > x.numel() && fast_operations(x);
    auto y = layer.forward(turn ? x.contiguous() : x);
    if (norm) y = norm->forward(y);
    return relu ? y.relu_() : y;
  }
  const auto& f = folded(layer, norm);
  if (at::GradMode::is_enabled() && x.requires_grad())
    return WinogradFunction::apply(x, f.forward, f.backward, f.bias.defined() ? std::optional(f.bias) : std::nullopt,
                                   relu);
  return winograd_convolution(x.contiguous(at::MemoryFormat::ChannelsLast), *f.forward, f.bias, relu);
}

}  // namespace hpm
