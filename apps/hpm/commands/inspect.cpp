#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/text.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/io/torch_file.h"
#include "hpm/io/zip.h"
#include "hpm/models/normalisation.h"
#include "hpm/models/torchscript.h"
#include "options.h"

namespace hpm::app {
namespace {

using Json = nlohmann::ordered_json;

/// As any POSIX shell takes it; of bytes that are no text, and of control characters, printf makes the word.
std::string quoted(const std::string& word) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@";
  if (word.find_first_not_of(plain) == std::string::npos) return word;
  const bool text = is_utf8(word) && std::ranges::none_of(word, [](char c) { return c >= 0 && c < ' '; });
  std::string out;
  for (const char c : word) {
    if (text) out += c == '\'' ? "'\\''" : std::string(1, c);
    else
      out += plain.find(c) != plain.npos ? std::string(1, c) : fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return text ? "'" + out + "'" : "\"$(printf '" + out + "')\"";
}

/// The file as the value of a flag: a name that begins with a dash is none.
std::string quoted_path(const std::string& path) { return quoted(path.starts_with('-') ? "./" + path : path); }

/// A data set that the model may be for, with what its images need.
std::string data_for(int64_t classes, const std::vector<int64_t>& input) {
  if (input.at(0) == 1) return "fashion-mnist";
  if (input.at(1) == 224) return "images:DIR --resize 256 --centre-crop 224";
  if (input.at(1) > 64) return "images:DIR";
  return classes == 100 ? "cifar100" : "cifar10";
}

std::string joined(const std::vector<double>& values) { return fmt::format("{}", fmt::join(values, ",")); }

/// What the next commands are.
struct Suggestion {
  std::string model;  ///< the flags that load the model as it was loaded here
  std::string normalisation;

  void add_to(Json& j, const Classifier& classifier) const {
    const auto data = data_for(classifier.classes(), classifier.info().input_shape);
    j["normalisation"] = normalisation;
    j["evaluate"] = fmt::format("hpm evaluate {} --data {}", model, data);
    if (!classifier.is_black_box())
      j["finetune"] = fmt::format("hpm finetune {} --data {} --head hpm --out runs/hpm", model, data);
  }
};

/// A flag is needed where neither the card beside the file nor its metadata say the same.
Suggestion suggestion(const std::string& path, const ClassifierInfo& info, const ModelOptions& options,
                      const std::string& key, const CheckpointFile& file) {
  const auto beside = read_card(path);
  const bool own = file.metadata.contains("model.arch");
  Suggestion out{.model = "--model " + quoted_path(path), .normalisation = {}};
  if (!own && (!beside || beside->arch != info.architecture)) out.model += " --arch " + quoted(info.architecture);
  if (!key.empty() && (!beside || beside->key != key)) out.model += " --key " + quoted(key);
  const auto& [mean, std] = info.normalisation;
  if (info.normalisation.identity()) {
    out.normalisation =
        "none is known and none is applied. If the model was trained on normalised images, give their --mean and --std "
        "(with --write-card, once for all verbs); --mean 0,0,0 --std 1,1,1 says that there is none";
    if (own) out.normalisation = "none";
    return out;
  }
  out.normalisation = fmt::format("mean {} and std {}", joined(mean), joined(std));
  const bool in_card = beside && beside->mean == mean && beside->std == std;
  if (!in_card && (!own || !options.card.mean.empty()))
    out.model += fmt::format(" --mean {} --std {}", joined(mean), joined(std));
  return out;
}

/// Values that are probably in another unit. The evaluation warns of them too; here they are written into the card.
void add_probable_mistakes(Json& j, const Normalisation& normalisation) {
  for (const auto& line : unlikely_values(normalisation)) j["warnings"].push_back(line);
}

/// A TorchScript archive by its directory alone: neither its pickles nor its code are read.
Json torchscript(const std::string& path, const ModelOptions& options, bool write) {
  const FileSource source(path);
  const ZipArchive zip(source);
  int64_t code = 0, tensors = 0;
  uint64_t bytes = 0;
  for (const auto& entry : zip.entries()) {
    if (entry.name.find("/code/") != std::string::npos && entry.name.ends_with(".py")) ++code;
    const bool tensor =
        entry.name.find("/data/") != std::string::npos || entry.name.find("/constants/") != std::string::npos;
    if (tensor) ++tensors, bytes += entry.size;
  }
  const auto digest = sha256_of(source);
  auto card = read_card(path);
  if (write) {
    card = card ? completed(options.card, *card) : options.card;
    card->sha256 = digest;
    write_card(path, *card);
  }
  const bool trusted = card && card->sha256 == digest;
  Json j{{"file", path}, {"container", kTorchScript}, {"sha256", digest}};
  j["code files"] = code;
  j["tensors"] = tensors;
  j["tensor bytes"] = bytes;
  j["note"] =
      trusted ? "a program, which loading runs; the card beside it names its SHA-256, so that it will be loaded"
              : "a program, which loading runs: it needs --allow-torchscript, or its SHA-256 in a card (--write-card, "
                "if you trust it)";
  if (write) j["card"] = card_path(path);
  const auto known = card ? completed(options.card, *card) : options.card;
  if (!known.mean.empty())
    j["normalisation"] = fmt::format(
        "{}, applied before the module: right only where the module does not normalise by itself; without a card's "
        "mean and std, images go into it in [0,1]",
        text_of(Normalisation{known.mean, known.std}));
  add_probable_mistakes(j, {known.mean, known.std});
  std::string flags = trusted ? "" : " --allow-torchscript";
  if (!known.mean.empty() && known.mean == options.card.mean && !write)
    flags += fmt::format(" --mean {} --std {}", joined(known.mean), joined(known.std));
  if (!known.input.empty() && !card) flags += " --input-shape " + joined(known.input);
  const std::vector<int64_t> input(known.input.begin(), known.input.end());
  j["evaluate"] = fmt::format("hpm evaluate --model {}{} --data {}", quoted_path(path), flags,
                              input.size() == 3 ? data_for(known.classes, input) : "cifar10");
  return j;
}

/// The sets of weights of a file that holds several, each by the name that --key takes.
void add_candidates(Json& j, const CheckpointFile& file) {
  if (file.candidates.size() < 2) return;
  j["weights"] = Json::array();
  for (const auto& [key, tensors] : file.candidates)
    j["weights"].push_back({{"key", key}, {"tensors", tensors}, {"taken", key == file.key}});
}

Json description_of(const CheckpointFile& file, const std::string& path, bool keys) {
  Json j{{"file", path},
         {"container", file.container},
         {"sha256", file.sha256},
         {"peeled", file.peeled},
         {"ignored", file.ignored},
         {"unread", file.unread},
         {"tensors", file.tensors.size()}};
  add_candidates(j, file);
  if (keys)
    for (const auto& [name, tensor] : file.tensors)
      j["keys"][name] = fmt::format("{}[{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ","));
  return j;
}

void describe(const LoadedModel& loaded, Json& j) {
  const auto& classifier = loaded.model.classifier;
  const auto& info = classifier.info();
  j["architecture"] = info.architecture;
  j["input"] = info.input_shape;
  j["classes"] = info.classes;
  j["parameters"] = classifier.parameter_count();
  j["features"] = classifier.feature_size();
  j["mean"] = info.normalisation.mean;
  j["std"] = info.normalisation.std;
  j["head"] = loaded.model.head_kind();
  if (loaded.model.head) {
    const auto& head = *loaded.model.head;
    j["hpm"] = {{"lambda", head.lambda},
                {"tau", head.tau().item<double>()},
                {"metric", to_string(head.kind)},
                {"rank", head.metric.defined() ? head.metric.size(0) : head.means.size(1)},
                {"calibrated", head.calibration_sums.defined()}};
  }
  j["notes"] = loaded.notes;
  j["warnings"] = loaded.warnings;
}

/// Notes that repeat what has lines of its own.
bool said_already(const std::string& note) {
  return note.starts_with("peeled: ") || note.starts_with("left out: ") || note.starts_with("not read: ");
}

/// Names of files are bytes: each text as it can be shown.
Json shown(const Json& j) {
  if (j.is_string()) return printable_utf8(j.get_ref<const std::string&>());
  if (!j.is_structured()) return j;
  auto out = j;
  for (auto& [key, value] : out.items()) value = shown(value);
  return out;
}

void print(const Json& as_read, bool json) {
  if (json) return fmt::print("{}\n", json_text(as_read, 1));
  const auto j = shown(as_read);
  for (const auto& [key, value] : j.items()) {
    if (value.empty() && value.is_structured()) continue;
    if (value.is_array() && value.front().is_string()) {
      for (const auto& item : value)
        if (!said_already(item.get<std::string>())) fmt::print("{:<13} {}\n", key, item.get<std::string>());
    } else if (value.is_array() && value.front().is_object())
      for (const auto& item : value)
        fmt::print("{:<13} --key {}: {} tensors{}\n", key, item.at("key").get<std::string>(),
                   item.at("tensors").get<size_t>(), item.at("taken").get<bool>() ? " (taken)" : "");
    else if (value.is_object())
      for (const auto& [k, v] : value.items())
        fmt::print("{:<13} {} {}\n", key, k, v.is_string() ? v.get<std::string>() : json_text(v));
    else fmt::print("{:<13} {}\n", key, value.is_string() ? value.get<std::string>() : json_text(value));
  }
}

/// The TorchScript file whose weights a checkpoint holds, "" for others.
std::string program_of(const std::string& path, const CheckpointFile& file) {
  const auto card = read_card(path);
  if (card && card->arch != "auto") return torchscript_program(card->arch, path);
  const auto found = file.metadata.find("model.arch");
  return found == file.metadata.end() ? "" : torchscript_program(found->second, path);
}

}  // namespace

int inspect(const Arguments& arguments) {
  CommandLine line(
      "inspect",
      "What a checkpoint holds: container, keys, architecture and what was assumed. Never runs code from the file.",
      "hpm inspect model.pth --write-card");
  std::vector<std::string> words;
  ModelOptions options;
  bool card = false, keys = false;
  line.positional("FILE", words, {.place = Place::file});
  fields(line.fields, options);
  line.fields.section("output").add("write-card", card, "write what was found to FILE.toml");
  line.fields.add("keys", keys, "list every key with its shape");
  if (!line.parse(arguments)) return 0;
  if (words.empty() && !options.model.empty()) words = {options.model};
  require(words.size() == 1, "inspect: needs one file");
  const auto& path = words[0];
  if (container_of(path) == kTorchScript) {
    print(torchscript(path, options, card), line.json);
    return 0;
  }
  const auto beside = read_card(path);
  const auto file = read_checkpoint(path, options.card.key.empty() && beside ? beside->key : options.card.key);
  Json j = description_of(file, path, keys);
  if (const auto program = program_of(path, file); !program.empty()) {
    j["note"] = fmt::format("weights of the TorchScript module {}, a program, which is not loaded here", program);
    j["evaluate"] = fmt::format("hpm evaluate --model {}", quoted_path(path));
    print(j, line.json);
    return 0;
  }
  LoadedModel loaded;
  try {
    auto asked = options.card;
    if (card && asked.sha256.empty()) asked.sha256 = file.sha256;  // the card is written anew, for the file as it is
    loaded = load_model(path, asked);
  } catch (const Error&) {
    print(j, line.json);  // what is known helps to see why it does not load
    throw;
  }
  j["ignored"] = loaded.file.ignored;
  describe(loaded, j);
  add_probable_mistakes(j, loaded.model.classifier.info().normalisation);
  add_candidates(j, loaded.file);
  const auto& info = loaded.model.classifier.info();
  // Of several sets of weights the one that was taken is named, so that the next command takes the same.
  const auto key = loaded.file.candidates.size() > 1 ? loaded.file.key : options.card.key;
  if (card) {
    write_card(path, {.arch = info.architecture,
                      .classes = info.classes,
                      .mean = info.normalisation.mean,
                      .std = info.normalisation.std,
                      .input = {info.input_shape.begin(), info.input_shape.end()},
                      .source = options.card.source.empty() && beside ? beside->source : options.card.source,
                      .sha256 = loaded.file.sha256,
                      .key = key});
    j["card"] = card_path(path);
  }
  suggestion(path, info, options, key, loaded.file).add_to(j, loaded.model.classifier);
  print(j, line.json);
  return 0;
}

}  // namespace hpm::app
