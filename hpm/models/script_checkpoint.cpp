#include "hpm/core/error.h"
#include "hpm/models/network.h"
#include "hpm/models/script_checkpoint_impl.h"
#include "hpm/models/torchscript.h"

namespace hpm {

LoadedClassifier load_script(LoadedClassifier loaded, const std::string& path, const ModelCard& card,
                             const std::vector<int64_t>& data_shape, bool allow) {
  TorchScriptOptions options{.allow = allow, .sha256 = card.sha256, .normalisation = {card.mean, card.std}};
  if (!card.input.empty()) options.input_shape.assign(card.input.begin(), card.input.end());
  else if (!data_shape.empty()) options.input_shape = data_shape;
  else
    loaded.notes.push_back(
        fmt::format("input shape [{}] assumed (--input-shape)", fmt::join(options.input_shape, ",")));
  if (!card.key.empty())
    loaded.warnings.push_back(
        fmt::format("{}: is TorchScript and holds one model: key {} has no effect", path, card.key));
  if (card.arch != "auto" && card.arch != "torchscript")
    loaded.warnings.push_back(
        fmt::format("{}: is TorchScript and has its architecture in it: {} has no effect", path, card.arch));
  loaded.classifier = load_torchscript(path, options);
  const auto& classifier = loaded.classifier;
  if (card.classes != 0 && card.classes != classifier.classes())
    fail_usage("{}: gives {} logits, but {} classes are asked for (--classes)", path, classifier.classes(),
               card.classes);
  loaded.notes.push_back(classifier.is_black_box()
                             ? fmt::format("TorchScript, {} logits alone: attacks only", classifier.classes())
                             : fmt::format("TorchScript, D = {} features, last layer {}", classifier.feature_size(),
                                           classifier.head_name()));
  if (!training_mode_note(classifier).empty())
    loaded.notes.emplace_back("saved in training mode; runs in evaluation mode, as if eval() had been called before");
  if (options.normalisation.identity())
    loaded.notes.push_back(
        "images go into the module as they are, in [0,1] (--mean, --std where it does not normalise)");
  return loaded;
}

Classifier script_classifier_for(const std::string& architecture, const std::string& checkpoint,
                                 const std::vector<int64_t>& input_shape, bool allow) {
  const auto program = torchscript_program(architecture, checkpoint);
  if (program.empty()) return {};
  const auto card = read_card(program).value_or(ModelCard{});
  return load_torchscript(program, {.allow = allow, .sha256 = card.sha256, .input_shape = input_shape});
}

}  // namespace hpm
