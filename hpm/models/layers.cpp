#include "hpm/models/layers.h"

#include <torch/nn/modules/batchnorm.h>

#include <regex>

#include "hpm/core/error.h"
#include "hpm/models/image_convolution.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

struct Item {
  enum class Kind { conv, relu, bn, maxpool, avgpool, flatten, fc } kind;
  int64_t out = 0, kernel = 0, stride = 1, padding = 0;
};

std::string text_of(const Item& item) {
  switch (item.kind) {
    case Item::Kind::conv:
      return fmt::format("conv{}k{}{}{}", item.out, item.kernel,
                         item.stride == 1 ? "" : fmt::format("s{}", item.stride),
                         item.padding == 0 ? "" : fmt::format("p{}", item.padding));
    case Item::Kind::relu: return "relu";
    case Item::Kind::bn: return "bn";
    case Item::Kind::maxpool: return fmt::format("maxpool{}", item.kernel);
    case Item::Kind::avgpool: return fmt::format("avgpool{}", item.kernel);
    case Item::Kind::flatten: return "flatten";
    default: return fmt::format("fc{}", item.out);
  }
}

int64_t number(const std::ssub_match& digits, int64_t otherwise) {
  return digits.matched ? std::stoll(digits.str()) : otherwise;
}

std::optional<Item> parse_item(const std::string& text) {
  static const std::regex conv("conv(\\d{1,6})k(\\d{1,3})(?:s(\\d{1,3}))?(?:p(\\d{1,3}))?");
  static const std::regex pool("(max|avg)pool(\\d{1,3})");
  static const std::regex fc("fc(\\d{1,7})");
  std::smatch m;
  Item item{};
  if (std::regex_match(text, m, conv))
    item = {Item::Kind::conv, number(m[1], 0), number(m[2], 0), number(m[3], 1), number(m[4], 0)};
  else if (std::regex_match(text, m, pool))
    item = {m[1] == "max" ? Item::Kind::maxpool : Item::Kind::avgpool, 0, number(m[2], 0)};
  else if (std::regex_match(text, m, fc)) item = {Item::Kind::fc, number(m[1], 0)};
  else if (text == "relu") return Item{Item::Kind::relu};
  else if (text == "bn") return Item{Item::Kind::bn};
  else if (text == "flatten") return Item{Item::Kind::flatten};
  else return std::nullopt;
  const bool sized = item.kind == Item::Kind::fc ? item.out > 0 : item.kernel > 0 && item.stride > 0;
  if (!sized || (item.kind == Item::Kind::conv && item.out == 0)) return std::nullopt;
  return item;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts{""};
  for (char c : text) {
    if (c == '-') parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

class LayerStack : public Network {
 public:
  LayerStack(std::vector<Item> items, std::vector<int64_t> input_shape)
      : items_(std::move(items)), input_shape_(std::move(input_shape)) {
    auto shape = input_shape_;
    for (size_t i = 0; i < items_.size(); ++i) append(i, items_[i], shape);
    require(items_.back().kind == Item::Kind::fc, "LAYERS: the last item needs to be fc<classes>, but is \"{}\"",
            text_of(items_.back()));
  }

  std::shared_ptr<Network> fresh() const override { return std::make_shared<LayerStack>(items_, input_shape_); }
  torch::nn::Linear head() override { return head_; }
  Tensor features(const Tensor& x) override {
    auto h = x;
    for (const auto& apply : layers_) h = apply(h);
    return h;
  }
  std::string text() const {
    std::vector<std::string> parts;
    for (const auto& item : items_) parts.push_back(text_of(item));
    return fmt::format("{}", fmt::join(parts, "-"));
  }

 private:
  void append(size_t position, const Item& item, std::vector<int64_t>& shape) {
    const auto name = std::to_string(position);
    const auto needs = [&](size_t dims, const char* what) {
      require(shape.size() == dims, "LAYERS: item {} ({}) needs {}, but gets [{}]", position, text_of(item), what,
              fmt::join(shape, ","));
    };
    const auto shrink = [&](int64_t kernel, int64_t stride, int64_t padding) {
      for (size_t d : {1, 2}) {
        require(shape[d] + 2 * padding >= kernel, "LAYERS: item {} ({}) is larger than its input [{}]", position,
                text_of(item), fmt::join(shape, ","));
        shape[d] = (shape[d] + 2 * padding - kernel) / stride + 1;
      }
    };
    switch (item.kind) {
      case Item::Kind::conv: {
        needs(3, "maps [C,H,W]");
        auto layer = register_module(
            name,
            make_convolution(
                torch::nn::Conv2dOptions(shape[0], item.out, item.kernel).stride(item.stride).padding(item.padding)));
        layers_.push_back([layer](const Tensor& h) mutable { return image_convolution(h, *layer); });
        shape[0] = item.out;
        return shrink(item.kernel, item.stride, item.padding);
      }
      case Item::Kind::bn: return append_norm(name, shape);
      case Item::Kind::relu: {
        // In place behind a layer whose result nothing else reads.
        const auto before = position > 0 ? items_[position - 1].kind : Item::Kind::flatten;
        if (before == Item::Kind::conv || before == Item::Kind::bn || before == Item::Kind::fc)
          return layers_.push_back([](const Tensor& h) { return h.relu_(); });
        return layers_.push_back([](const Tensor& h) { return at::relu(h); });
      }
      case Item::Kind::maxpool:
      case Item::Kind::avgpool: {
        needs(3, "maps [C,H,W]");
        const bool max = item.kind == Item::Kind::maxpool;
        layers_.push_back([max, k = item.kernel](const Tensor& h) {
          return max ? at::max_pool2d(h, {k, k}) : at::avg_pool2d(h, {k, k});
        });
        return shrink(item.kernel, item.kernel, 0);
      }
      case Item::Kind::flatten:
        layers_.push_back([](const Tensor& h) { return h.flatten(1); });
        if (shape.size() == 3) shape = {shape[0] * shape[1] * shape[2]};
        return;
      case Item::Kind::fc: {
        needs(1, "a vector (flatten before it)");
        auto layer = register_module(name, make_linear({shape[0], item.out}));
        shape = {item.out};
        if (position + 1 == items_.size()) head_ = layer;
        else layers_.push_back([layer](const Tensor& h) mutable { return layer->forward(h); });
        return;
      }
    }
  }

  void append_norm(const std::string& name, const std::vector<int64_t>& shape) {
    if (shape.size() == 3) {
      auto layer = register_module(name, torch::nn::BatchNorm2d(shape[0]));
      layers_.push_back([layer](const Tensor& h) mutable { return layer->forward(h); });
    } else {
      auto layer = register_module(name, torch::nn::BatchNorm1d(shape[0]));
      layers_.push_back([layer](const Tensor& h) mutable { return layer->forward(h); });
    }
  }

  std::vector<Item> items_;
  std::vector<int64_t> input_shape_;
  std::vector<std::function<Tensor(const Tensor&)>> layers_;
  torch::nn::Linear head_{nullptr};
};

}  // namespace

bool is_layers(const std::string& text) {
  const auto last = text.substr(text.rfind('-') + 1);
  return text.find('-') != std::string::npos && parse_item(last) && parse_item(text.substr(0, text.find('-')));
}

std::shared_ptr<Network> make_layers(const std::string& text, const std::vector<int64_t>& input_shape) {
  require(input_shape.size() == 3, "LAYERS: needs an input shape C,H,W, but got [{}]", fmt::join(input_shape, ","));
  std::vector<Item> items;
  for (const auto& part : split(text)) {
    const auto item = parse_item(part);
    require(
        item.has_value(),
        "LAYERS: item {} of \"{}\" needs to be conv<out>k<k>[s<1>][p<0>], relu, bn, maxpool<k>, avgpool<k>, flatten or "
        "fc<out>, but is \"{}\"",
        items.size(), text, part);
    items.push_back(*item);
  }
  return std::make_shared<LayerStack>(std::move(items), input_shape);
}

std::string layers_of(const Network& network) {
  const auto* stack = dynamic_cast<const LayerStack*>(&network);
  require(stack != nullptr, "layers_of: needs a network made from a LAYERS string");
  return stack->text();
}

}  // namespace hpm
