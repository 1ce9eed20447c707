#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/io/torch_file.h"
#include "hpm/io/zip.h"
#include "hpm/models/torchscript.h"
#include "options.h"

namespace hpm::app {
namespace {

using Json = nlohmann::ordered_json;

/// As a shell takes it.
std::string quoted(const std::string& word) {
  if (word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@") ==
      std::string::npos)
    return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// A data set that the model may be for.
std::string data_for(int64_t classes, const std::vector<int64_t>& input) {
  if (input.at(0) == 1) return "fashion-mnist";
  if (input.at(1) > 64) return "images:DIR";
  return classes == 100 ? "cifar100" : "cifar10";
}

/// The command that evaluates the model as it was loaded here; a card beside the file needs no flags.
std::string evaluation(const std::string& path, const ClassifierInfo& info, bool described) {
  std::string command = "hpm evaluate --model " + quoted(path);
  if (!described) {
    command += " --arch " + info.architecture;
    if (!info.normalisation.identity())
      command += fmt::format(" --mean {} --std {}", fmt::join(info.normalisation.mean, ","),
                             fmt::join(info.normalisation.std, ","));
  }
  return command + " --data " + data_for(info.classes, info.input_shape);
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
    card = options.card;
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
  j["evaluate"] =
      fmt::format("hpm evaluate --model {}{} --data cifar10", quoted(path), trusted ? "" : " --allow-torchscript");
  return j;
}

Json description_of(const CheckpointFile& file, const std::string& path, bool keys) {
  Json j{{"file", path},          {"container", file.container}, {"sha256", file.sha256},
         {"peeled", file.peeled}, {"ignored", file.ignored},     {"tensors", file.tensors.size()}};
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

void print(const Json& j, bool json) {
  if (json) return fmt::print("{}\n", json_text(j, 1));
  for (const auto& [key, value] : j.items()) {
    if (value.empty() && value.is_structured()) continue;
    if (value.is_array() && value.front().is_string())
      for (const auto& item : value) fmt::print("{:<13} {}\n", key, item.get<std::string>());
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
  const auto file = read_checkpoint(path);
  Json j = description_of(file, path, keys);
  if (const auto program = program_of(path, file); !program.empty()) {
    j["note"] = fmt::format("weights of the TorchScript module {}, a program, which is not loaded here", program);
    j["evaluate"] = fmt::format("hpm evaluate --model {}", quoted(path));
    print(j, line.json);
    return 0;
  }
  LoadedModel loaded;
  try {
    loaded = load_model(path, options.card);
  } catch (const Error&) {
    print(j, line.json);  // what is known helps to see why it does not load
    throw;
  }
  describe(loaded, j);
  const auto& info = loaded.model.classifier.info();
  if (card)
    write_card(path, {info.architecture,
                      info.classes,
                      info.normalisation.mean,
                      info.normalisation.std,
                      {info.input_shape.begin(), info.input_shape.end()},
                      options.card.source,
                      loaded.file.sha256});
  const bool described = read_card(path) || loaded.file.metadata.contains("model.arch");
  j["evaluate"] = evaluation(path, info, described);
  print(j, line.json);
  return 0;
}

}  // namespace hpm::app
