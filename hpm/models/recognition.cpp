#include "hpm/models/recognition.h"

#include "hpm/core/error.h"
#include "hpm/models/classifier.h"
#include "hpm/models/modules_impl.h"
#include "hpm/models/registry.h"
#include "hpm/models/stack_recognition_impl.h"
#include "hpm/models/wide_resnet.h"

namespace hpm {
namespace {

std::string shape_text(at::IntArrayRef shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

bool may_be_absent(const std::string& key) { return key.ends_with("num_batches_tracked"); }

/// The name in the registry of a network whose table row gives no spec to compare: it is made, and its keys compared.
bool fits(const Architecture& known, const NamedTensors& tensors, int64_t classes,
          const std::vector<int64_t>& input_shape) {
  const WithoutWeights shapes_alone;
  const auto network = known.make(classes, input_shape);
  return misfits(Classifier(network, {known.name, classes, input_shape, {}}).state(), tensors).empty();
}

std::string recognise_named(const NamedTensors& tensors, const std::vector<int64_t>& input_shape) {
  KeyShapes keys;
  for (const auto& [key, tensor] : tensors) keys[key] = tensor.sizes().vec();
  if (auto wide = recognise_wide_resnet(keys); !wide.empty()) return wide;
  const auto classes = classes_of(tensors);
  if (classes < 2) return {};
  const auto resnet = recognise_resnet(keys);
  for (const auto& known : architectures())
    if (known.resnet ? resnet == known.resnet : fits(known, tensors, classes, input_shape)) return known.name;
  return {};
}

}  // namespace

std::vector<std::string> misfits(const NamedTensors& state, const NamedTensors& tensors) {
  std::map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  std::vector<std::string> lines;
  for (const auto& [key, tensor] : state) {
    const auto found = given.find(key);
    if (found == given.end()) {
      if (!may_be_absent(key)) lines.push_back(fmt::format("missing {} {}", key, shape_text(tensor.sizes())));
      continue;
    }
    if (found->second.sizes() != tensor.sizes())
      lines.push_back(fmt::format("{} needs shape {}, but has {}", key, shape_text(tensor.sizes()),
                                  shape_text(found->second.sizes())));
    given.erase(found);
  }
  for (const auto& [key, tensor] : given)
    if (!may_be_absent(key)) lines.push_back(fmt::format("unexpected {} {}", key, shape_text(tensor.sizes())));
  return lines;
}

std::string recognise(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                      std::vector<std::string>& notes) {
  if (const auto name = recognise_named(tensors, input_shape); !name.empty()) {
    notes.push_back(fmt::format("architecture {} recognised from keys and shapes", name));
    return name;
  }
  if (auto stack = recognise_stack(tensors, input_shape, notes); !stack.empty()) return stack;
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : tensors) keys.push_back(fmt::format("{} {}", key, shape_text(tensor.sizes())));
  if (keys.size() > 12) keys.resize(12), keys.emplace_back("...");
  fail(
      "no known architecture fits these keys: {}; name one with --arch (a name or a LAYERS string), or export the "
      "model as TorchScript",
      fmt::join(keys, ", "));
}

}  // namespace hpm
