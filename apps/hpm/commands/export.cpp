#include "commands/commands.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "options.h"

namespace hpm::app {

int export_model(const Arguments& arguments) {
  CommandLine line(
      "export",
      "Writes a model as safetensors with its card; --fold turns the reference context into an ordinary FC layer.",
      "hpm export --model runs/hpm/model.safetensors --fold --to folded.safetensors");
  ModelOptions options;
  std::string to;
  bool fold_head = false, overwrite = false;
  fields(line.fields, options);
  line.fields.section("output").add("to", to, "file to write");
  line.fields.add("fold", fold_head, "HPM's reference context as the FC layer of the original architecture");
  line.fields.add("force", overwrite, "replace an existing file");
  if (!line.parse(arguments)) return 0;
  require(!to.empty(), "export: needs --to FILE");
  require(to.ends_with(".safetensors"), "export: --to needs a name that ends in .safetensors, but got \"{}\"", to);
  require(overwrite || !std::filesystem::exists(to), "export: {} exists; give --force to replace it", to);
  auto model = load(options, options.model, {}, line.monitor());
  if (fold_head) model = {folded(model), std::nullopt};
  require(!model.classifier.is_black_box(),
          "export: a TorchScript file has no weights under checkpoint names; export needs a state_dict");
  save_model(model, to, fmt::format("hpm export{} of {}", fold_head ? " --fold" : "", options.model));
  if (line.json) fmt::print("{}\n", nlohmann::ordered_json{{"file", to}, {"head", model.head_kind()}}.dump());
  else fmt::print("{}\n", to);
  return 0;
}

}  // namespace hpm::app
