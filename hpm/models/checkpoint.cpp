#include "hpm/models/checkpoint.h"

#include "hpm/core/error.h"
#include "hpm/io/torch_file.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"
#include "hpm/models/recognition.h"
#include "hpm/models/registry.h"
#include "hpm/models/script_checkpoint_impl.h"
#include "hpm/models/stack_recognition_impl.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;
using Notes = std::vector<std::string>;

/// The tensors become the network's own, converted to its types where they have others; nothing else is copied.
void adopt_weights(const Classifier& classifier, NamedTensors tensors) {
  torch::NoGradGuard guard;
  std::map<std::string, Tensor> given;
  for (auto& [key, tensor] : tensors) given.emplace(std::move(key), std::move(tensor));
  tensors.clear();
  for (auto& [key, tensor] : classifier.state()) {
    auto found = given.extract(key);
    if (!found.empty()) tensor.set_data(found.mapped().to(tensor.scalar_type()));
  }
}

int64_t channels_of(const NamedTensors& tensors) {
  for (const auto& [key, tensor] : tensors)
    if (tensor.dim() == 4) return tensor.size(1);
  return 0;
}

bool has_imagenet_stem(const NamedTensors& tensors) {
  return std::ranges::any_of(
      tensors, [](const auto& named) { return named.first == "conv1.weight" && named.second.size(-1) == 7; });
}

Shape input_shape_of(const ModelCard& card, const Shape& data_shape, const NamedTensors& tensors, Notes& notes) {
  if (!card.input.empty()) {
    require(card.input.size() == 3, "input-shape: needs C,H,W, but got {} numbers", card.input.size());
    return {card.input.begin(), card.input.end()};
  }
  if (!data_shape.empty()) return data_shape;
  const auto channels = std::max<int64_t>(channels_of(tensors), 1);
  const int64_t size = channels == 1 ? 28 : has_imagenet_stem(tensors) ? 224 : 32;
  notes.push_back(
      fmt::format("input shape [{},{},{}] assumed from the first layer (--input-shape)", channels, size, size));
  return {channels, size, size};
}

/// Values of `card` where they are set, else those of `other`.
ModelCard merged(ModelCard card, const ModelCard& other) {
  if (card.arch == "auto") card.arch = other.arch;
  if (card.classes == 0) card.classes = other.classes;
  if (card.mean.empty() && card.std.empty()) card.mean = other.mean, card.std = other.std;
  if (card.input.empty()) card.input = other.input;
  if (card.source.empty()) card.source = other.source;
  if (card.sha256.empty()) card.sha256 = other.sha256;
  if (card.activation.empty()) card.activation = other.activation;
  return card;
}

ModelCard card_of_metadata(const std::map<std::string, std::string>& metadata, const std::string& path) {
  ModelCard card;
  Fields known;
  fields(known, card);
  for (const auto& [key, text] : metadata)
    if (key.starts_with("model.")) known.set(key, text, Origin::file, path + ": metadata " + key);
  return card;
}

/// What was given, else the card beside the file, else its metadata. Throws Error for a file with another checksum than
/// they name.
ModelCard full_card(const ModelCard& given, const std::string& path, const CheckpointFile& file, Notes& notes) {
  auto card = given;
  bool overridden = false;
  const auto merge = [&](const ModelCard& other, const char* whose) {
    const bool both = !(given.mean.empty() && given.std.empty()) && !(other.mean.empty() && other.std.empty());
    if (!std::exchange(overridden, overridden || both) && both && (given.mean != other.mean || given.std != other.std))
      notes.push_back(fmt::format("the {}'s normalisation, mean {} and std {}, is overridden", whose,
                                  fmt::join(other.mean, ","), fmt::join(other.std, ",")));
    card = merged(card, other);
  };
  if (const auto beside = read_card(path)) {
    notes.push_back("card: " + card_path(path));
    merge(*beside, "card");
  }
  merge(card_of_metadata(file.metadata, path), "metadata");
  if (!card.sha256.empty() && card.sha256 != file.sha256)
    fail("{}: has SHA-256 {}, but {} is expected; the file was changed or the card belongs to another", path,
         file.sha256, card.sha256);
  return card;
}

/// The name with the activation asked for: keys do not tell it.
std::string with_activation(const std::string& arch, const ModelCard& card, const std::string& path, Notes& notes) {
  const bool open = arch.starts_with("dm_"), relu = arch.ends_with("_relu");
  if (card.activation.empty()) {
    if (open && !relu)
      notes.push_back(fmt::format("{}: SiLU, as RobustBench has it, is assumed (--activation relu)", arch));
    return arch;
  }
  require(open || card.activation == "relu", "{}: {} has ReLU; --activation silu is for DeepMind's variants (dm_...)",
          path, arch);
  require(!relu || card.activation == "relu", "{}: --arch {} and --activation {} contradict each other", path, arch,
          card.activation);
  return open && !relu && card.activation == "relu" ? arch + "_relu" : arch;
}

Normalisation normalisation_of(const ModelCard& card, const std::string& path, int64_t classes,
                               LoadedClassifier& loaded) {
  const auto& file = loaded.file;
  const auto text = [](const std::vector<double>& mean, const std::vector<double>& std) {
    return fmt::format("mean {} and std {}", fmt::join(mean, ","), fmt::join(std, ","));
  };
  if (!card.mean.empty() || !card.std.empty()) {
    if (!file.mean.empty() && (file.mean != card.mean || file.std != card.std))
      loaded.notes.push_back(fmt::format("the file's own normalisation, {}, is overridden", text(file.mean, file.std)));
    return {card.mean, card.std};
  }
  if (!file.mean.empty()) {
    loaded.notes.push_back(fmt::format("normalisation from the file's buffers: {}", text(file.mean, file.std)));
    return {file.mean, file.std};
  }
  const auto own = own_normalisation(card.arch, classes);
  const bool inside = card.arch.starts_with("torchscript:");  // the module normalises
  if (!own.identity())
    loaded.notes.push_back(
        fmt::format("{} normalises inside; for {} classes {}, as RobustBench has it, are assumed "
                    "(--mean, --std)",
                    card.arch, classes, text(own.mean, own.std)));
  else if (!inside)
    loaded.warnings.push_back(
        fmt::format("{}: no input normalisation is known: none is applied (--mean, --std or a card)", path));
  return own;
}

}  // namespace

LoadedClassifier load_classifier(const std::string& path, const ModelCard& given, const Shape& data_shape,
                                 bool allow_torchscript) {
  LoadedClassifier loaded;
  loaded.file = read_checkpoint(path);
  auto tensors = std::move(loaded.file.tensors);
  const auto first_extra = std::stable_partition(tensors.begin(), tensors.end(),
                                                 [](const auto& item) { return !item.first.starts_with("hpm."); });
  loaded.extra.assign(std::make_move_iterator(first_extra), std::make_move_iterator(tensors.end()));
  tensors.erase(first_extra, tensors.end());
  for (const auto& what : loaded.file.peeled) loaded.notes.push_back("peeled: " + what);

  auto card = full_card(given, path, loaded.file, loaded.notes);
  if (loaded.file.container == kTorchScript)
    return load_script(std::move(loaded), path, card, data_shape, allow_torchscript);
  const auto shape = input_shape_of(card, data_shape, tensors, loaded.notes);
  if (card.arch == "auto") card.arch = recognise(tensors, shape, loaded.notes);
  card.arch = with_activation(card.arch, card, path, loaded.notes);
  const auto script = script_classifier_for(card.arch, path, shape, allow_torchscript);
  const auto classes = script ? script.classes() : classes_of(tensors);  // a module's keys have any order
  if (card.classes != 0 && card.classes != classes)
    fail_usage("{}: has {} classes in its last layer, but {} are asked for (--classes)", path, classes, card.classes);
  const auto normalisation = normalisation_of(card, path, classes, loaded);
  auto network = script.network();
  if (!network) {
    const WithoutWeights loaded_next;
    network = make_network(card.arch, classes, shape);
  }
  loaded.classifier = Classifier(network, {card.arch, classes, shape, normalisation, path, loaded.file.sha256});
  const auto lines = misfits(loaded.classifier.state(), tensors);
  if (!lines.empty()) fail("{}: does not fit {}:\n  {}", path, card.arch, fmt::join(lines, "\n  "));
  adopt_weights(loaded.classifier, std::move(tensors));
  return loaded;
}

}  // namespace hpm
