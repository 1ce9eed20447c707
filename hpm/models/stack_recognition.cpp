#include "hpm/models/stack_recognition_impl.h"

#include "hpm/core/error.h"
#include "hpm/models/classifier.h"
#include "hpm/models/layers.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"
#include "hpm/models/recognition.h"

namespace hpm {
namespace {

/// A layer with weights of a Sequential.
struct Weighted {
  enum class Kind { conv, norm, linear } kind;
  int64_t position = 0, out = 0, in = 0, kernel = 0;
};

struct Geometry {
  int64_t stride, padding;
};

/// What comes between two layers, and how often it halves the maps.
struct Gap {
  std::string text;
  bool pools = false;
};

/// A stack whose convolutions' strides and paddings are open.
struct Stack {
  std::vector<Weighted> layers;
  std::vector<Gap> before;           ///< each layer
  std::vector<size_t> convolutions;  ///< their places in `layers`
};

/// The place in a Sequential that a key begins with; -1 where it begins with none.
int64_t position_of(const std::string& key) {
  const auto number = key.substr(0, key.find('.'));
  const bool position =
      !number.empty() && number.size() <= 4 && number.find_first_not_of("0123456789") == std::string::npos;
  return position ? std::stoll(number) : -1;
}

std::optional<Weighted> weighted(const std::string& key, const at::Tensor& weight) {
  const auto position = position_of(key);
  if (position < 0) return std::nullopt;
  Weighted out{Weighted::Kind::norm, position, weight.dim() > 0 ? weight.size(0) : 0};
  if (weight.dim() == 4) out.kind = Weighted::Kind::conv, out.kernel = weight.size(2);
  if (weight.dim() == 2) out.kind = Weighted::Kind::linear;
  if (weight.dim() > 1) out.in = weight.size(1);
  return out;
}

/// The layers between `from` and `to`, `count` positions.
std::optional<Gap> gap(const Weighted* from, const Weighted& to, int64_t count) {
  const bool flattens = to.kind == Weighted::Kind::linear && (!from || from->kind != Weighted::Kind::linear);
  const bool from_vector = from && from->kind == Weighted::Kind::linear;
  if (!from && count != (flattens ? 1 : 0)) return std::nullopt;  // a stack begins with a flatten at most
  if (flattens) --count;
  const std::string end = flattens ? "flatten-" : "";
  if (count == 0) return Gap{end};
  if (count == 1) return Gap{"relu-" + end};
  if (count == 2 && !from_vector) return Gap{"relu-maxpool2-" + end, true};
  return std::nullopt;
}

std::optional<Stack> stack_of(const NamedTensors& tensors) {
  Stack out;
  auto ordered = tensors;  // files may be sorted by name, 10 before 2
  std::ranges::stable_sort(ordered, {}, [](const auto& named) { return position_of(named.first); });
  for (const auto& [key, tensor] : ordered) {
    const auto layer = weighted(key, tensor);
    if (!layer) return std::nullopt;
    if (key.substr(key.find('.') + 1) == "weight") out.layers.push_back(*layer);
  }
  if (out.layers.empty() || out.layers.back().kind != Weighted::Kind::linear) return std::nullopt;
  bool vector = false;
  for (size_t i = 0; i < out.layers.size(); ++i) {
    auto& layer = out.layers[i];
    const auto* from = i > 0 ? &out.layers[i - 1] : nullptr;
    // A norm after a linear layer works on vectors: as `from` it counts as one.
    Weighted before = from ? *from : Weighted{};
    if (vector) before.kind = Weighted::Kind::linear;
    auto found = gap(from ? &before : nullptr, layer, layer.position - (from ? from->position + 1 : 0));
    if (!found) return std::nullopt;
    out.before.push_back(std::move(*found));
    vector = vector || layer.kind == Weighted::Kind::linear;
    if (layer.kind == Weighted::Kind::conv) out.convolutions.push_back(i);
  }
  return out;
}

/// The usual geometries of a k x k convolution, the likeliest first.
std::vector<Geometry> geometries(int64_t k) {
  if (k % 2 == 0) return {{2, k / 2 - 1}, {2, 0}, {1, k / 2 - 1}, {k, 0}, {1, 0}};
  return {{1, k / 2}, {2, k / 2}, {1, 0}, {2, 0}};
}

/// Whether the maps that reach the first linear layer have as many values as it takes.
bool fits(const Stack& stack, const std::vector<Geometry>& chosen, const std::vector<int64_t>& input_shape) {
  int64_t channels = input_shape[0], height = input_shape[1], width = input_shape[2];
  size_t next = 0;
  for (size_t i = 0; i < stack.layers.size(); ++i) {
    const auto& layer = stack.layers[i];
    if (stack.before[i].pools) height /= 2, width /= 2;
    if (layer.kind == Weighted::Kind::linear) return channels * height * width == layer.in;
    if (layer.kind == Weighted::Kind::norm) continue;
    const auto [stride, padding] = chosen[next++];
    height = (height + 2 * padding - layer.kernel) / stride + 1;
    width = (width + 2 * padding - layer.kernel) / stride + 1;
    if (layer.in != channels || height < 1 || width < 1) return false;
    channels = layer.out;
  }
  return false;
}

/// All choices of geometries that fit, those alike for all convolutions first.
std::vector<std::vector<Geometry>> fitting_geometries(const Stack& stack, const std::vector<int64_t>& input_shape) {
  constexpr size_t most_choices = 20000;
  std::vector<std::vector<Geometry>> options, alike, mixed;
  size_t choices = 1;
  for (const size_t i : stack.convolutions) {
    options.push_back(geometries(stack.layers[i].kernel));
    choices *= choices > most_choices ? 1 : options.back().size();
  }
  std::vector<size_t> index(options.size(), 0);
  const auto try_choice = [&](std::vector<std::vector<Geometry>>& out) {
    std::vector<Geometry> chosen;
    for (size_t c = 0; c < options.size(); ++c) chosen.push_back(options[c][std::min(index[c], options[c].size() - 1)]);
    if (fits(stack, chosen, input_shape)) out.push_back(std::move(chosen));
  };
  for (size_t g = 0; g < 5 && (g == 0 || !options.empty()); ++g) {
    const bool exists = std::ranges::any_of(options, [&](const auto& o) { return g < o.size(); });
    std::ranges::fill(index, g);
    if (exists || options.empty()) try_choice(alike);
  }
  if (!alike.empty() || choices > most_choices) return alike;
  std::ranges::fill(index, 0);
  for (bool more = true; more;) {
    try_choice(mixed);
    more = false;
    for (size_t c = options.size(); c-- > 0 && !more;) {
      more = ++index[c] < options[c].size();
      if (!more) index[c] = 0;
    }
  }
  return mixed;
}

std::string text_of(const Stack& stack, const std::vector<Geometry>& chosen) {
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i < stack.layers.size(); ++i) {
    const auto& layer = stack.layers[i];
    text += stack.before[i].text;
    if (layer.kind == Weighted::Kind::norm) text += "bn-";
    else if (layer.kind == Weighted::Kind::linear) text += fmt::format("fc{}-", layer.out);
    else {
      const auto [stride, padding] = chosen[next++];
      text += fmt::format("conv{}k{}s{}p{}-", layer.out, layer.kernel, stride, padding);
    }
  }
  text.pop_back();
  return text;
}

}  // namespace

int64_t classes_of(const NamedTensors& tensors) {
  // In the order of a Sequential where names are places in one; else as the file has it.
  int64_t classes = 0, last = -1;
  for (const auto& [key, tensor] : tensors)
    if (const auto position = position_of(key); tensor.dim() == 2 && position >= last)
      classes = tensor.size(0), last = position;
  return classes;
}

std::string recognise_stack(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                            std::vector<std::string>& notes) {
  const auto stack = stack_of(tensors);
  if (!stack) return {};
  const auto fitting = fitting_geometries(*stack, input_shape);
  if (fitting.empty()) return {};
  std::string layers;
  try {
    const WithoutWeights shapes_alone;
    const auto network = make_layers(text_of(*stack, fitting.front()), input_shape);
    layers = layers_of(*network);
    if (!misfits(Classifier(network, {layers, 0, input_shape, {}}).state(), tensors).empty()) return {};
  } catch (const Error&) {
    return {};
  }
  const bool pools = std::ranges::any_of(stack->before, &Gap::pools);
  notes.push_back(fmt::format("weights tell neither strides and paddings nor {}: {} assumed{} (--arch)",
                              pools ? "activations and pooling" : "activations", layers,
                              fitting.size() > 1 ? fmt::format(", the likeliest of {} that fit", fitting.size()) : ""));
  return layers;
}

}  // namespace hpm
