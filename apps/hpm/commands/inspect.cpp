#include "commands/commands.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "options.h"

namespace hpm::app {

int inspect(const Arguments& arguments) {
  CommandLine line(
      "inspect",
      "What a checkpoint holds: container, keys, architecture and what was assumed. Never runs code from the file.",
      "hpm inspect model.pth --write-card");
  std::vector<std::string> words;
  ModelOptions options;
  bool card = false, keys = false;
  line.positional("FILE", words);
  fields(line.fields, options);
  line.fields.section("output").add("write-card", card, "write what was found to FILE.toml");
  line.fields.add("keys", keys, "list every key with its shape");
  if (!line.parse(arguments)) return 0;
  if (words.empty() && !options.model.empty()) words = {options.model};
  require(words.size() == 1, "inspect: needs one file");
  const auto& path = words[0];
  const auto file = read_checkpoint(path);
  nlohmann::ordered_json j{{"file", path},
                           {"container", file.container},
                           {"sha256", file.sha256},
                           {"peeled", file.peeled},
                           {"ignored", file.ignored}};
  j["tensors"] = file.tensors.size();
  if (file.container == "TorchScript") {
    j["note"] = "a program: needs --allow-torchscript, or sha256 in the card, to be loaded";
  } else {
    if (keys)
      for (const auto& [name, tensor] : file.tensors)
        j["keys"][name] = fmt::format("{}[{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ","));
    const auto loaded = load_model(path, options.card);
    const auto& info = loaded.model.classifier.info();
    j["architecture"] = info.architecture;
    j["input"] = info.input_shape;
    j["classes"] = info.classes;
    j["parameters"] = loaded.model.classifier.parameter_count();
    j["features"] = loaded.model.classifier.feature_size();
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
    const bool needs_arch = !read_card(path) && file.metadata.find("model.arch") == file.metadata.end();
    j["evaluate"] =
        fmt::format("hpm evaluate --model {}{} --data {}", path, needs_arch ? " --arch " + info.architecture : "",
                    info.input_shape.at(0) == 1 ? "fashion-mnist" : "cifar10");
    if (card)
      write_card(path, {info.architecture,
                        info.classes,
                        info.normalisation.mean,
                        info.normalisation.std,
                        {info.input_shape.begin(), info.input_shape.end()},
                        options.card.source,
                        file.sha256});
  }
  if (line.json) return fmt::print("{}\n", j.dump(1)), 0;
  for (const auto& [key, value] : j.items()) {
    if (value.empty() && value.is_structured()) continue;
    if (value.is_array() && value.front().is_string())
      for (const auto& item : value) fmt::print("{:<13} {}\n", key, item.get<std::string>());
    else if (value.is_object())
      for (const auto& [k, v] : value.items())
        fmt::print("{:<13} {} {}\n", key, k, v.is_string() ? v.get<std::string>() : v.dump());
    else fmt::print("{:<13} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return 0;
}

}  // namespace hpm::app
