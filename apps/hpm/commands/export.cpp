#include "commands/commands.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/prototypes/torchscript_export.h"
#include "options.h"

namespace hpm::app {

int export_model(const Arguments& arguments) {
  CommandLine line("export",
                   "Writes a model with its card as safetensors, as a state_dict that Python's "
                   "torch.load(weights_only=True) reads, or as a TorchScript module; --fold turns the reference "
                   "context into an ordinary FC layer.",
                   "hpm export --model runs/hpm/model.safetensors --fold --format state_dict --to folded.pth");
  ModelOptions options;
  std::string to, format = "safetensors", context = "reference";
  bool fold_head = false, overwrite = false;
  fields(line.fields, options);
  line.fields.section("output").add("to", to, "file to write");
  line.fields.add("format", format, "of the file", {.choices = {"safetensors", "state_dict", "torchscript"}});
  line.fields.add("fold", fold_head, "HPM's reference context as the FC layer of the original architecture");
  line.fields.add("context", context, "of an HPM model as TorchScript", {.choices = {"reference", "alone"}});
  line.fields.add("force", overwrite, "replace an existing file");
  if (!line.parse(arguments)) return 0;
  require(!to.empty(), "export: needs --to FILE");
  require(to.ends_with(".safetensors") == (format == "safetensors"),
          "export: --format {} needs a name that {} in .safetensors, but got \"{}\"", format,
          format == "safetensors" ? "ends" : "does not end", to);
  require(overwrite || !std::filesystem::exists(to), "export: {} exists; give --force to replace it", to);
  auto model = load(options, options.model, {}, line.monitor());
  if (fold_head) model = {folded(model), std::nullopt};
  if (format != "torchscript") line.warn_unused("context", "weights are the same in every context");
  else if (!model.head) line.warn_unused("context", "this model has no HPM head");
  const auto source = fmt::format("hpm export{} of {}", fold_head ? " --fold" : "", options.model);
  if (format == "torchscript") export_torchscript(model, parse_context(context), to, source);
  else
    save_model(model, to, source, {}, format == "safetensors" ? WeightsFormat::safetensors : WeightsFormat::state_dict);
  if (line.json)
    fmt::print("{}\n", nlohmann::ordered_json{{"file", to}, {"format", format}, {"head", model.head_kind()}}.dump());
  else fmt::print("{}\n", to);
  return 0;
}

}  // namespace hpm::app
