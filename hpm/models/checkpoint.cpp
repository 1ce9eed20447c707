#include "hpm/models/checkpoint.h"

#include "hpm/core/error.h"
#include "hpm/models/layers.h"
#include "hpm/models/network.h"
#include "hpm/models/registry.h"
#include "hpm/models/wide_resnet.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

/// Older PyTorch did not save this counter, and evaluation does not read it.
bool may_be_absent(const std::string& key) { return key.ends_with("num_batches_tracked"); }

/// What keeps `tensors` from fitting the network: one line a key, empty when all fit.
std::vector<std::string> misfits(const std::vector<std::pair<std::string, Tensor>>& state,
                                 const NamedTensors& tensors) {
  std::map<std::string, Tensor> given(tensors.begin(), tensors.end());
  std::vector<std::string> lines;
  for (const auto& [key, tensor] : state) {
    const auto found = given.find(key);
    if (found == given.end()) {
      if (!may_be_absent(key)) lines.push_back(fmt::format("missing {} {}", key, shape_text(tensor.sizes())));
      continue;
    }
    if (found->second.sizes() != tensor.sizes())
      lines.push_back(fmt::format("{} needs shape {}, but has {}", key, shape_text(tensor.sizes()),
                                  shape_text(found->second.sizes())));
    given.erase(found);
  }
  for (const auto& [key, tensor] : given)
    if (!may_be_absent(key)) lines.push_back(fmt::format("unexpected {} {}", key, shape_text(tensor.sizes())));
  return lines;
}

void copy_weights(const Classifier& classifier, const NamedTensors& tensors) {
  torch::NoGradGuard guard;
  const std::map<std::string, Tensor> given(tensors.begin(), tensors.end());
  for (auto& [key, tensor] : classifier.state())
    if (const auto found = given.find(key); found != given.end()) tensor.copy_(found->second);
}

/// The rows of the last matrix: the number of classes.
int64_t classes_of(const NamedTensors& tensors) {
  for (auto it = tensors.rbegin(); it != tensors.rend(); ++it)
    if (it->second.dim() == 2) return it->second.size(0);
  return 0;
}

int64_t channels_of(const NamedTensors& tensors) {
  for (const auto& [key, tensor] : tensors)
    if (tensor.dim() == 4) return tensor.size(1);
  return 0;
}

Shape input_shape_of(const ModelCard& card, const Shape& data_shape, const NamedTensors& tensors,
                     std::vector<std::string>& notes) {
  if (!card.input.empty()) {
    require(card.input.size() == 3, "input: needs C,H,W, but got {} numbers", card.input.size());
    return {card.input.begin(), card.input.end()};
  }
  if (!data_shape.empty()) return data_shape;
  const auto channels = channels_of(tensors);
  const Shape shape = channels == 1 ? Shape{1, 28, 28} : Shape{std::max<int64_t>(channels, 1), 32, 32};
  notes.push_back(fmt::format("input shape {} assumed from the first layer's {} channels (--input-shape)",
                              shape_text(shape), channels));
  return shape;
}

// ---- plain stacks --------------------------------------------------------------------------------------------------

/// A layer with weights of a Sequential: its position and weight.
struct Weighted {
  int64_t position;
  Tensor weight;
};

std::vector<Weighted> sequential_layers(const NamedTensors& tensors) {
  std::vector<Weighted> layers;
  for (const auto& [key, tensor] : tensors) {
    const auto dot = key.find('.');
    const auto number = key.substr(0, dot);
    if (dot == std::string::npos || number.empty() || number.size() > 4 ||
        number.find_first_not_of("0123456789") != std::string::npos)
      return {};
    if (key.substr(dot) == ".weight") layers.push_back({std::stoll(number), tensor});
  }
  return layers;
}

/// The items between two layers with weights: nothing but relu, and flatten before the first linear layer.
std::optional<std::string> between(int64_t gap, bool flattens) {
  if (!flattens) return gap == 0 ? "" : gap == 1 ? std::optional<std::string>("-relu") : std::nullopt;
  return gap == 1   ? std::optional<std::string>("-flatten")
         : gap == 2 ? std::optional<std::string>("-relu-flatten")
                    : std::nullopt;
}

/// The usual geometries of a k x k convolution, the likeliest first.
std::vector<std::pair<int64_t, int64_t>> geometries(int64_t k) {
  if (k % 2 == 0) return {{2, k / 2 - 1}, {2, 0}, {1, k / 2 - 1}, {k, 0}, {1, 0}};
  return {{1, k / 2}, {2, k / 2}, {1, 0}, {2, 0}};
}

/// The LAYERS string of a Sequential of convolutions and linear layers, "" where there is none. Strides and paddings
/// are not in the weights: the same likely geometry for all convolutions whose flattened size fits the first linear
/// layer.
std::string recognise_stack(const NamedTensors& tensors, const Shape& input_shape, std::vector<std::string>& notes) {
  const auto layers = sequential_layers(tensors);
  if (layers.empty() || layers.back().weight.dim() != 2) return {};
  std::vector<std::string> fitting;
  const int64_t kernel = layers.front().weight.dim() == 4 ? layers.front().weight.size(2) : 1;
  for (const auto& [stride, padding] : geometries(kernel)) {
    std::string text;
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto& w = layers[i].weight;
      const bool conv = w.dim() == 4;
      if (i > 0) {
        const auto gap =
            between(layers[i].position - layers[i - 1].position - 1, !conv && layers[i - 1].weight.dim() == 4);
        if (!gap) return {};
        text += *gap + "-";
      }
      text +=
          conv ? fmt::format("conv{}k{}s{}p{}", w.size(0), w.size(2), stride, padding) : fmt::format("fc{}", w.size(0));
    }
    try {
      auto network = make_layers(text, input_shape);
      const auto canonical = layers_of(*network);
      if (misfits(Classifier(network, {text, 0, input_shape, {}}).state(), tensors).empty())
        fitting.push_back(canonical);
    } catch (const Error&) {
      continue;  // this geometry does not fit the input
    }
  }
  if (fitting.empty()) return {};
  notes.push_back(
      fmt::format("strides and paddings are not in the weights: {} assumed{} (--arch)", fitting.front(),
                  fitting.size() > 1 ? ", the likeliest of " + std::to_string(fitting.size()) + " that fit" : ""));
  return fitting.front();
}

// ---- loading -------------------------------------------------------------------------------------------------------

/// Values of `card` where they are set, else those of `other`.
ModelCard merged(ModelCard card, const ModelCard& other) {
  if (card.arch == "auto") card.arch = other.arch;
  if (card.classes == 0) card.classes = other.classes;
  if (card.mean.empty() && card.std.empty()) card.mean = other.mean, card.std = other.std;
  if (card.input.empty()) card.input = other.input;
  if (card.source.empty()) card.source = other.source;
  if (card.sha256.empty()) card.sha256 = other.sha256;
  return card;
}

ModelCard card_of_metadata(const std::map<std::string, std::string>& metadata, const std::string& path) {
  ModelCard card;
  Fields known;
  fields(known, card);
  for (const auto& [key, text] : metadata)
    if (key.rfind("model.", 0) == 0) known.set(key, text, Origin::file, path + ": metadata " + key);
  return card;
}

}  // namespace

std::string recognise(const NamedTensors& tensors, const Shape& input_shape, std::vector<std::string>& notes) {
  const auto classes = classes_of(tensors);
  KeyShapes keys_and_shapes;
  for (const auto& [key, tensor] : tensors) keys_and_shapes[key] = tensor.sizes().vec();
  if (const auto name = recognise_wide_resnet(keys_and_shapes); !name.empty()) {
    const bool deepmind = name.rfind("dm_", 0) == 0;
    notes.push_back(fmt::format("architecture {} recognised from keys and shapes{}", name,
                                deepmind ? "; SiLU is assumed (ReLU: --arch " + name + "_relu)" : ""));
    return name;
  }
  const auto resnet = recognise_resnet(keys_and_shapes);
  for (const auto& known : architectures()) {
    if (classes < 2) break;
    if (known.resnet) {  // compared by what the keys say: these networks are large
      if (resnet != known.resnet) continue;
      notes.push_back(fmt::format("architecture {} recognised from keys and shapes", known.name));
      return known.name;
    }
    const auto network = known.make(classes, input_shape);
    if (!misfits(Classifier(network, {known.name, classes, input_shape, {}}).state(), tensors).empty()) continue;
    notes.push_back(fmt::format("architecture {} recognised from keys and shapes", known.name));
    return known.name;
  }
  if (auto stack = recognise_stack(tensors, input_shape, notes); !stack.empty()) return stack;
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors) keys.push_back(fmt::format("{} {}", key, shape_text(tensor.sizes())));
  if (keys.size() > 12) keys.resize(12), keys.emplace_back("...");
  fail(
      "no known architecture fits these keys: {}; name one with --arch (a name or a LAYERS string), or export the "
      "model as TorchScript",
      fmt::join(keys, ", "));
}

LoadedClassifier load_classifier(const std::string& path, const ModelCard& given, const Shape& data_shape) {
  LoadedClassifier loaded;
  loaded.file = read_checkpoint(path);
  if (loaded.file.container == "TorchScript")
    fail(
        "{}: is a TorchScript file, which may run code when it is loaded; weights in a state_dict or safetensors file "
        "are needed here",
        path);
  auto tensors = std::move(loaded.file.tensors);
  const auto is_extra = [](const auto& item) { return item.first.rfind("hpm.", 0) == 0; };
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(loaded.extra), is_extra);
  std::erase_if(tensors, is_extra);
  for (const auto& what : loaded.file.peeled) loaded.notes.push_back("peeled: " + what);

  auto card = given;
  if (const auto beside = read_card(path))
    card = merged(card, *beside), loaded.notes.push_back("card: " + card_path(path));
  card = merged(card, card_of_metadata(loaded.file.metadata, path));
  if (!card.sha256.empty() && card.sha256 != loaded.file.sha256)
    fail("{}: has SHA-256 {}, but {} is expected; the file was changed or the card belongs to another", path,
         loaded.file.sha256, card.sha256);

  const auto shape = input_shape_of(card, data_shape, tensors, loaded.notes);
  if (card.arch == "auto") card.arch = recognise(tensors, shape, loaded.notes);
  const auto classes = classes_of(tensors);
  if (card.classes != 0 && card.classes != classes)
    fail_usage("{}: has {} classes in its last layer, but {} are asked for (--classes)", path, classes, card.classes);
  auto network = make_network(card.arch, classes, shape);
  const auto own = own_normalisation(card.arch, classes);
  if (card.mean.empty() && card.std.empty() && !own.identity()) {
    card.mean = own.mean, card.std = own.std;
    loaded.notes.push_back(fmt::format("{} normalises inside, by mean {} and std {}: assumed (--mean, --std)",
                                       card.arch, fmt::join(own.mean, ","), fmt::join(own.std, ",")));
  }
  if (card.mean.empty() && card.std.empty())
    loaded.warnings.push_back(
        fmt::format("{}: no input normalisation is known: none is applied (--mean, --std or a card)", path));
  loaded.classifier =
      Classifier(std::move(network), {card.arch, classes, shape, {card.mean, card.std}, path, loaded.file.sha256});
  const auto lines = misfits(loaded.classifier.state(), tensors);
  if (!lines.empty()) fail("{}: does not fit {}:\n  {}", path, card.arch, fmt::join(lines, "\n  "));
  copy_weights(loaded.classifier, tensors);
  return loaded;
}

}  // namespace hpm
