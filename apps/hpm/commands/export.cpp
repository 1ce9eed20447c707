#include "commands/commands.h"

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/models/card.h"
#include "hpm/prototypes/torchscript_export.h"
#include "options.h"
#include "outputs.h"
#include "standard_streams.h"

namespace hpm::app {

int export_model(const Arguments& arguments) {
  CommandLine line("export",
                   "Writes a model with its card as safetensors, as a state_dict that Python's "
                   "torch.load(weights_only=True) reads, or as a TorchScript module; --fold turns the reference "
                   "context into an ordinary FC layer.",
                   "hpm export --model runs/hpm/model.safetensors --fold --format state_dict --to folded.pth");
  ModelOptions options;
  std::string to, format = "safetensors", context = "reference";
  std::optional<double> lambda;
  bool fold_head = false, force = false;
  fields(line.fields, options);
  line.fields.section("output").add("to", to, "file to write", {.place = Place::file});
  line.fields.add("format", format, "of the file", {.choices = {"safetensors", "state_dict", "torchscript"}});
  line.fields.add("lambda", lambda, "mixing weight in place of the HPM model's own", {.min = 0, .max = 1});
  line.fields.add("fold", fold_head, "HPM's reference context as the FC layer of the original architecture");
  line.fields.add("context", context, "of an HPM model as TorchScript", {.choices = {"reference", "alone"}});
  line.fields.add("force", force, "replace an existing file, and the card beside it");
  if (!line.parse(arguments)) return 0;
  require(!to.empty(), "export: needs --to FILE");
  require(to.ends_with(".safetensors") == (format == "safetensors"),
          "export: --format {} needs a name that {} in .safetensors, but got \"{}\"", format,
          format == "safetensors" ? "ends" : "does not end", to);
  // Also what hpm itself wrote is kept: a model that was trained cannot be told from one that was exported.
  const auto never = [](const std::string&) { return false; };
  require_free("--to", to, force, never);
  if (becomes_a_file(to)) require_free("--to", card_path(to), force, never);
  auto model = load(options, options.model, {}, line.monitor());
  require(!lambda || model.head, "--lambda: is the mixing weight of an HPM head, and {} has none", options.model);
  if (lambda) model.head->lambda = *lambda;
  if (fold_head) model = {folded(model), std::nullopt};
  if (format != "torchscript") line.warn_unused("context", "weights are the same in every context");
  else if (!model.head) line.warn_unused("context", "this model has no HPM head");
  const auto source = fmt::format("hpm export{}{} of {}", fold_head ? " --fold" : "",
                                  lambda ? fmt::format(" --lambda {:g}", *lambda) : "", options.model);
  if (format == "torchscript") export_torchscript(model, parse_context(context), to, source);
  else
    save_model(model, to, source, {}, format == "safetensors" ? WeightsFormat::safetensors : WeightsFormat::state_dict);
  if (!becomes_a_file(to)) line.monitor().warn(to + " is no regular file: no card was written beside it");
  if (line.json)
    fmt::print("{}\n",
               json_text(nlohmann::ordered_json{{"file", to}, {"format", format}, {"head", model.head_kind()}}));
  else if (!is_standard_output(to)) fmt::print("{}\n", to);
  return 0;
}

}  // namespace hpm::app
