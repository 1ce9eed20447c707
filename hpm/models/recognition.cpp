#include "hpm/models/recognition.h"

#include <set>

#include "hpm/core/error.h"
#include "hpm/models/classifier.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/registry.h"
#include "hpm/models/stack_recognition_impl.h"
#include "hpm/models/wide_resnet.h"

namespace hpm {
namespace {

using Shape = std::vector<int64_t>;

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

bool may_be_absent(const std::string& key) { return key.ends_with("num_batches_tracked"); }

/// The state of a network whose weights were never made; empty where it cannot take images of this shape.
NamedTensors state_without_weights(const std::string& name, int64_t classes, const Shape& input_shape) {
  const WithoutWeights shapes_alone;
  try {
    return Classifier(make_network(name, classes, input_shape), {name, classes, input_shape, {}}).state();
  } catch (const Error&) {
    return {};
  }
}

bool fits(const std::string& name, const NamedTensors& tensors, int64_t classes, const Shape& input_shape) {
  const auto state = state_without_weights(name, classes, input_shape);
  return !state.empty() && misfits(state, tensors).empty();
}

KeyShapes shapes_of(const NamedTensors& tensors) {
  KeyShapes keys;
  for (const auto& [key, tensor] : tensors) keys[key] = tensor.sizes().vec();
  return keys;
}

std::string recognise_named(const NamedTensors& tensors, const Shape& input_shape) {
  const auto keys = shapes_of(tensors);
  const auto classes = classes_of(tensors);
  if (classes < 2) return {};
  if (auto wide = recognise_wide_resnet(keys); !wide.empty() && fits(wide, tensors, classes, input_shape)) return wide;
  const auto resnet = recognise_resnet(keys);
  for (const auto& known : architectures())
    if ((!known.resnet || resnet == known.resnet) && fits(known.name, tensors, classes, input_shape)) return known.name;
  return {};
}

/// At most a dozen of the lines, and how many more there are.
void append_dozen(std::string& text, const std::vector<std::string>& lines, std::string_view kind) {
  constexpr size_t dozen = 12;
  for (size_t i = 0; i < std::min(lines.size(), dozen); ++i) text += "\n  " + lines[i];
  if (lines.size() > dozen) text += fmt::format("\n  ... and {} more {}", lines.size() - dozen, kind);
}

}  // namespace

std::string Misfits::text() const {
  std::string text = fmt::format("{} missing, {} of another shape, {} unexpected", missing.size(), misshapen.size(),
                                 unexpected.size());
  append_dozen(text, missing, "missing");
  append_dozen(text, misshapen, "of another shape");
  append_dozen(text, unexpected, "unexpected");
  return text;
}

Misfits misfits(const NamedTensors& state, const NamedTensors& tensors) {
  std::map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  Misfits out;
  for (const auto& [key, tensor] : state) {
    const auto found = given.find(key);
    if (found == given.end()) {
      if (!may_be_absent(key)) out.missing.push_back(fmt::format("missing {} {}", key, shape_text(tensor.sizes())));
      continue;
    }
    if (found->second.sizes() != tensor.sizes())
      out.misshapen.push_back(fmt::format("{} needs shape {}, but has {}", key, shape_text(tensor.sizes()),
                                          shape_text(found->second.sizes())));
    given.erase(found);
  }
  for (const auto& [key, tensor] : given)
    if (!may_be_absent(key)) out.unexpected.push_back(fmt::format("unexpected {} {}", key, shape_text(tensor.sizes())));
  return out;
}

std::optional<NearestArchitecture> nearest_architecture(const NamedTensors& tensors, const Shape& input_shape) {
  std::vector<std::string> names;
  for (const auto& known : architectures()) names.push_back(known.name);
  for (const char* name : {"wrn28_10", "dm_wrn28_10", "dm_preact_resnet18"}) names.emplace_back(name);
  if (auto wide = recognise_wide_resnet(shapes_of(tensors)); !wide.empty()) names.insert(names.begin(), wide);
  std::set<std::string> given;
  for (const auto& [key, tensor] : tensors)
    if (!may_be_absent(key)) given.insert(key);
  const auto classes = std::max<int64_t>(classes_of(tensors), 2);
  NearestArchitecture best;
  size_t fewest = 0;
  for (const auto& name : names) {
    const auto state = state_without_weights(name, classes, input_shape);
    size_t same = 0, all = given.size();
    for (const auto& [key, tensor] : state)
      if (!may_be_absent(key)) given.contains(key) ? ++same : ++all;
    const double share = static_cast<double>(same) / static_cast<double>(std::max<size_t>(all, 1));
    if (share < .25 || share < best.share) continue;
    auto found = misfits(state, tensors);
    // Of two that share as many keys the one whose shapes fit better.
    if (share == best.share && found.count() >= fewest) continue;
    fewest = found.count();
    best = {name, share, std::move(found)};
  }
  return best.name.empty() ? std::nullopt : std::optional(std::move(best));
}

std::string unrecognised_text(const NamedTensors& tensors, const Shape& input_shape) {
  const std::string advice =
      "name one with --arch (a name, or for a torch.nn.Sequential, whose keys are numbers, a LAYERS string: "
      "docs/models.md), or export the model as TorchScript (docs/torchscript.md), which takes any module";
  if (const auto nearest = nearest_architecture(tensors, input_shape))
    return fmt::format("no known architecture fits its {} tensors; {}.\nThe nearest is {}: {}", tensors.size(), advice,
                       nearest->name, nearest->misfits.text());
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors) keys.push_back(fmt::format("{} {}", key, shape_text(tensor.sizes())));
  const auto count = keys.size();
  if (count > 12) keys.resize(12), keys.emplace_back("...");
  return fmt::format("no known architecture fits these {} keys, and none is near: {}; {}", count, fmt::join(keys, ", "),
                     advice);
}

std::string recognised(const NamedTensors& tensors, const Shape& input_shape, std::vector<std::string>& notes) {
  if (const auto name = recognise_named(tensors, input_shape); !name.empty()) {
    notes.push_back(fmt::format("architecture {} recognised from keys and shapes", name));
    return name;
  }
  return recognise_stack(tensors, input_shape, notes);
}

std::string recognise(const NamedTensors& tensors, const Shape& input_shape, std::vector<std::string>& notes) {
  auto name = recognised(tensors, input_shape, notes);
  if (name.empty()) fail("{}", unrecognised_text(tensors, input_shape));
  return name;
}

}  // namespace hpm
