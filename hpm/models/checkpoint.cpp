#include "hpm/models/checkpoint.h"

#include "hpm/core/error.h"
#include "hpm/io/torch_file.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/network.h"
#include "hpm/models/network_part_impl.h"
#include "hpm/models/recognition.h"
#include "hpm/models/registry.h"
#include "hpm/models/script_checkpoint_impl.h"
#include "hpm/models/stack_recognition_impl.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;
using Notes = std::vector<std::string>;

constexpr int64_t kMostImageChannels = 4;

/// Makes the tensors the network's own. They are converted where the network has another type; nothing else is copied.
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

/// Of the images: no convolution takes fewer channels than the first, which may stand anywhere in a file. 0 where there
/// is no convolution.
int64_t channels_of(const NamedTensors& tensors) {
  int64_t fewest = 0;
  for (const auto& [key, tensor] : tensors)
    if (tensor.dim() == 4 && tensor.size(2) > 1)
      fewest = fewest == 0 ? tensor.size(1) : std::min(fewest, tensor.size(1));
  return fewest;
}

bool has_imagenet_stem(const NamedTensors& tensors) {
  return std::ranges::any_of(tensors, [](const auto& named) {
    return named.first.ends_with("conv1.weight") && named.second.dim() == 4 && named.second.size(-1) == 7;
  });
}

Shape input_shape_of(const ModelCard& card, const Shape& data_shape, const NamedTensors& tensors, Notes& notes) {
  if (!card.input.empty()) {
    require(card.input.size() == 3, "input-shape: needs C,H,W, but got {} numbers", card.input.size());
    for (const double size : card.input)
      require(size == std::floor(size), "input-shape: needs whole numbers C,H,W, but got {}", size);
    return {card.input.begin(), card.input.end()};
  }
  if (!data_shape.empty()) return data_shape;
  // A stack without convolutions begins with a matrix: 3072 values are 3x32x32.
  const bool flat_colours = channels_of(tensors) == 0 && std::ranges::any_of(tensors, [](const auto& named) {
                              return named.second.dim() == 2 && named.second.size(1) == 3 * 32 * 32;
                            });
  const auto channels = flat_colours ? 3 : std::max<int64_t>(channels_of(tensors), 1);
  const int64_t size = channels == 1 ? 28 : has_imagenet_stem(tensors) ? 224 : 32;
  notes.push_back(
      fmt::format("input shape [{},{},{}] assumed from the first layer (--input-shape)", channels, size, size));
  return {channels, size, size};
}

bool has_normalisation(const ModelCard& card) { return !card.mean.empty() || !card.std.empty(); }

/// Says that another normalisation than the one given is left aside; once.
void note_overridden(const ModelCard& given, const ModelCard& other, const char* whose, Notes& notes) {
  if (!has_normalisation(given) || !has_normalisation(other)) return;
  if (given.mean == other.mean && given.std == other.std) return;
  const auto said = std::any_of(notes.begin(), notes.end(), [](const auto& n) { return n.ends_with("is overridden"); });
  if (!said)
    notes.push_back(fmt::format("the {}'s normalisation, mean {} and std {}, is overridden", whose,
                                fmt::join(other.mean, ","), fmt::join(other.std, ",")));
}

/// The card given, completed by the card beside the file and then by its metadata. Throws Error if the file has another
/// checksum than they name.
ModelCard given_card(const ModelCard& given, const std::string& path, Notes& notes) {
  const auto beside = read_card(path);
  if (!beside) return given;
  notes.push_back("card: " + card_path(path));
  note_overridden(given, *beside, "card", notes);
  return completed(given, *beside);
}

/// `card` with what the file's metadata tell besides. Throws Error for a file with another checksum than the card
/// names.
ModelCard full_card(ModelCard card, const ModelCard& given, const std::string& path, const CheckpointFile& file,
                    Notes& notes) {
  const auto metadata = card_of_metadata(file.metadata, path);
  note_overridden(given, metadata, "metadata", notes);
  card = completed(card, metadata);
  if (!card.sha256.empty() && card.sha256 != file.sha256)
    fail("{}: has SHA-256 {}, but {} is expected ({}). The file was changed, or this belongs to another: {}", path,
         file.sha256, card.sha256, given.sha256.empty() ? "by the card " + card_path(path) : "by --sha256",
         given.sha256.empty() ? "hpm inspect --write-card writes the card anew" : "give the other file");
  return card;
}

/// The architecture's name with the activation that `card` asks for, which keys do not tell.
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

/// What the file says of itself: what was taken off, which weights were taken.
void say_reading(const CheckpointFile& file, LoadedClassifier& loaded, const std::string& path) {
  for (const auto& what : file.peeled) loaded.notes.push_back("peeled: " + what);
  for (const auto& what : file.ignored) loaded.notes.push_back("left out: " + what);
  if (!file.unread.empty())
    loaded.notes.push_back(fmt::format(
        "not read: {}{}", fmt::join(std::span(file.unread).first(std::min<size_t>(file.unread.size(), 6)), ", "),
        file.unread.size() > 6 ? ", ... (hpm inspect lists all)" : ""));
  for (const auto& warning : file.warnings) loaded.warnings.push_back(fmt::format("{}: {}", path, warning));
}

/// What an error about keys should add: where the tensors were found, and objects that stood where tensors would.
std::string text_of_reading(const CheckpointFile& file) {
  std::string out;
  for (const auto& [what, lines] : {std::pair{"Taken off", &file.peeled}, {"Left out", &file.ignored}}) {
    const auto shown = std::span(*lines).first(std::min<size_t>(lines->size(), 12));
    if (!shown.empty())
      out += fmt::format("\n{}: {}{}", what, fmt::join(shown, ", "), shown.size() < lines->size() ? ", ..." : "");
  }
  return out;
}

/// Throws UsageError where the images of the data set are no images of the model.
void require_images(const std::string& path, const Shape& images, const Shape& model, std::string_view source) {
  if (images.empty() || images == model) return;
  if (images[0] != model[0])
    fail_usage(
        "{}: the images have {} channel{}, the model takes {}{}; give the data set that it was trained on (--data)",
        path, images[0], images[0] == 1 ? "" : "s", model[0], source);
  fail_usage(
      "{}: the images are {}x{}, the model takes {}x{}{}; give the data set that it was trained on (--data), or bring "
      "image folders to this size (--resize, --centre-crop)",
      path, images[1], images[2], model[1], model[2], source);
}

/// Finds the network among the tensors of a file.
class NetworkSearch {
 public:
  NetworkSearch(const std::string& path, const ModelCard& card, const Shape& shape, bool allow_torchscript)
      : path_(path),
        card_(card),
        shape_(shape),
        script_(script_classifier_for(card.arch, path, shape, allow_torchscript)) {}

  NetworkPart find(const NamedTensors& tensors) const {
    return find_network_part(tensors,
                             [&](const NamedTensors& some, Notes& notes) { return fitting(some, shape_, notes); });
  }
  std::shared_ptr<Network> make(const NetworkPart& part) const {
    if (auto network = script_.network()) return network;
    const WithoutWeights loaded_next;
    return make_network(part.arch, classes(part.tensors), shape_);
  }
  int64_t classes(const NamedTensors& tensors) const {
    return script_ ? script_.classes() : classes_of(tensors);  // a module's keys have any order
  }
  bool is_script() const { return static_cast<bool>(script_); }
  NamedTensors script_state() const { return script_.state(); }

  /// Throws the error of a file that holds no whole network.
  [[noreturn]] void fail_unfitting(const NamedTensors& tensors, const Shape& data_shape,
                                   const CheckpointFile& file) const {
    require_other_images(tensors, data_shape);
    const auto prefix = card_.arch == "auto" || script_ ? bulk_prefix(tensors) : std::string();
    const auto whole = script_ || prefix.empty() ? tensors : tensors_below(tensors, prefix);
    const auto below = whole.size() == tensors.size() ? "" : fmt::format(" (below \"{}\")", prefix);
    if (card_.arch == "auto") fail("{}: {}{}{}", path_, unrecognised_text(whole, shape_), below, text_of_reading(file));
    fail("{}: does not fit {}: {}{}", path_, card_.arch, misfits(state_of(card_.arch, tensors, shape_), tensors).text(),
         text_of_reading(file));
  }

 private:
  NamedTensors state_of(const std::string& arch, const NamedTensors& tensors, const Shape& shape) const {
    if (script_) return script_.state();
    const WithoutWeights shapes_alone;
    return Classifier(make_network(arch, std::max<int64_t>(classes_of(tensors), 2), shape), {arch, 0, shape, {}})
        .state();
  }

  std::string fitting(const NamedTensors& tensors, const Shape& shape, Notes& notes) const {
    if (card_.arch == "auto") return recognised(tensors, shape, notes);
    Notes none;
    const auto arch = with_activation(card_.arch, card_, path_, none);
    if (!script_ && classes_of(tensors) < 2) return {};
    try {
      return misfits(state_of(arch, tensors, shape), tensors).empty() ? card_.arch : std::string();
    } catch (const Error&) {  // no such network: fail_unfitting() says why
      return {};
    }
  }

  /// Where the network takes images of another size than the data set has, that is the error.
  void require_other_images(const NamedTensors& tensors, const Shape& data_shape) const {
    if (data_shape.empty() || !card_.input.empty() || script_) return;
    for (const int64_t size : {28, 32, 64, 96, 128, 224})
      for (const int64_t channels : {1, 3}) {
        const Shape other{channels, size, size};
        Notes none;
        try {
          if (other != data_shape && !fitting(tensors, other, none).empty())
            require_images(path_, data_shape, other, "");
        } catch (const UsageError&) {
          throw;
        } catch (const Error&) {  // images too small for the network
        }
      }
  }

  const std::string& path_;
  const ModelCard& card_;
  const Shape& shape_;
  Classifier script_;
};

/// Says what was left out beside the network, and refuses it where it may be a part of it.
void say_part(const NetworkPart& part, LoadedClassifier& loaded, const std::string& path) {
  auto& file = loaded.file;
  const auto name = part.prefix.substr(0, std::max<size_t>(part.prefix.size(), 1) - 1);  // without the dot
  const auto full = [&](const std::string& key) {
    return file.key.empty() || file.key == "." ? key : file.key + "." + key;
  };
  if (!part.prefix.empty()) loaded.notes.push_back(fmt::format("peeled: prefix \"{}\"", part.prefix));
  std::vector<std::string> weights, values, counters;
  for (const auto& [key, tensor] : part.beside)
    (!tensor.is_floating_point() ? counters
     : tensor.dim() >= 2         ? weights
                                 : values)
        .push_back(fmt::format("{} [{}]", key, fmt::join(tensor.sizes(), ",")));
  const auto dozen = [](const std::vector<std::string>& lines) {
    const auto shown = std::span(lines).first(std::min<size_t>(lines.size(), 12));
    return fmt::format("{}{}", fmt::join(shown, ", "),
                       shown.size() < lines.size() ? fmt::format(" and {} more", lines.size() - shown.size()) : "");
  };
  if (!weights.empty())
    fail(
        "{}: below \"{}\" lies a whole {}, but beside it are weights that belong to no part of it: {}. If they take no "
        "part in the prediction, say so with --key {}",
        path, part.prefix, part.arch, dozen(weights), full(name));
  for (const auto& counter : counters) file.ignored.push_back(counter), loaded.notes.push_back("left out: " + counter);
  file.ignored.insert(file.ignored.end(), values.begin(), values.end());
  const auto per_channel = [&](const auto& named) {
    return named.second.is_floating_point() && named.second.numel() == channels_of(part.tensors);
  };
  const bool normalises = std::ranges::count_if(part.beside, per_channel) >= 2;
  if (!values.empty())
    loaded.warnings.push_back(fmt::format(
        "{}: left out, for they belong to no part of {}: {}{}", path, part.arch, dozen(values),
        normalises ? ". They have a value per channel: if they are a normalisation, give it with --mean and --std"
                   : ""));
  if (part.others.empty()) return;
  std::vector<std::string> others;
  file.candidates = {{full(name), part.tensors.size()}};
  for (const auto& other : part.others)
    others.push_back(full(other.key)), file.candidates.push_back({full(other.key), other.tensors});
  file.key = full(name);
  loaded.warnings.push_back(
      fmt::format("{}: the file holds several networks: {} was taken; --key NAME chooses another: {}", path, file.key,
                  fmt::join(others, ", ")));
}

/// A module whose names all begin alike has lost that beginning in the reading: it gets it back where its state has it.
NamedTensors with_prefix_of(const NamedTensors& state, NamedTensors tensors, const std::string& prefix) {
  const auto begins = [&](const auto& named) { return named.first.starts_with(prefix); };
  if (prefix.empty() || state.empty() || !std::ranges::all_of(state, begins)) return tensors;
  for (auto& named : tensors) named.first = prefix + named.first;
  return tensors;
}

/// One value for all channels is given to each.
void widen(std::vector<double>& values, int64_t channels) {
  if (values.size() == 1 && channels > 1) values.assign(static_cast<size_t>(channels), values.front());
}

}  // namespace

LoadedClassifier load_classifier(const std::string& path, const ModelCard& given, const Shape& data_shape,
                                 bool allow_torchscript) {
  LoadedClassifier loaded;
  auto card = given_card(given, path, loaded.notes);
  loaded.file = read_checkpoint(path, card.key);
  auto tensors = std::move(loaded.file.tensors);
  const auto first_extra = std::stable_partition(tensors.begin(), tensors.end(),
                                                 [](const auto& item) { return !item.first.starts_with("hpm."); });
  loaded.extra.assign(std::make_move_iterator(first_extra), std::make_move_iterator(tensors.end()));
  tensors.erase(first_extra, tensors.end());
  say_reading(loaded.file, loaded, path);

  card = full_card(card, given, path, loaded.file, loaded.notes);
  if (loaded.file.container == kTorchScript)
    return load_script(std::move(loaded), path, card, data_shape, allow_torchscript);
  const auto shape = input_shape_of(card, data_shape, tensors, loaded.notes);
  require_images(path, data_shape, shape, card.input.empty() ? "" : " (--input-shape or its card)");
  const NetworkSearch search(path, card, shape, allow_torchscript);
  if (search.is_script()) tensors = with_prefix_of(search.script_state(), std::move(tensors), loaded.file.prefix);
  // A first convolution of many channels is none that sees images: then a key is missing, and that is the error.
  if (const auto channels = channels_of(tensors);
      !search.is_script() && !data_shape.empty() && channels > 0 && channels <= kMostImageChannels)
    require_images(path, data_shape, {channels, data_shape[1], data_shape[2]}, "");
  auto part = search.find(tensors);
  if (!part) search.fail_unfitting(tensors, data_shape, loaded.file);
  tensors.clear();
  loaded.notes.insert(loaded.notes.end(), part.notes.begin(), part.notes.end());
  say_part(part, loaded, path);
  part.arch = card.arch = with_activation(part.arch, card, path, loaded.notes);
  const auto classes = search.classes(part.tensors);
  if (card.classes != 0 && card.classes != classes)
    fail_usage("{}: has {} classes in its last layer, but {} are asked for (--classes)", path, classes, card.classes);
  auto normalisation = normalisation_of(card, path, classes, loaded);
  widen(normalisation.mean, shape[0]), widen(normalisation.std, shape[0]);
  loaded.classifier =
      Classifier(search.make(part), {card.arch, classes, shape, normalisation, path, loaded.file.sha256});
  adopt_weights(loaded.classifier, std::move(part.tensors));
  return loaded;
}

}  // namespace hpm
