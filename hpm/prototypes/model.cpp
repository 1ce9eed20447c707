#include "hpm/prototypes/model.h"

#include "hpm/core/error.h"
#include "hpm/io/torch_file_write.h"
#include "hpm/models/network.h"
#include "hpm/models/torchscript.h"

namespace hpm {
namespace {

/// The head from its tensors ("hpm.means" and so on) and the metadata, every shape checked against the classifier.
HpmHead read_head(const LoadedClassifier& loaded, const std::string& path) {
  const std::map<std::string, Tensor> tensors(loaded.extra.begin(), loaded.extra.end());
  const auto& metadata = loaded.file.metadata;
  const int64_t k = loaded.classifier.classes(), d = loaded.classifier.feature_size();
  const auto take = [&](const std::string& name, std::vector<int64_t> shape, bool needed) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      if (needed) fail("{}: has HPM state, but no {}", path, name);
      return Tensor();
    }
    auto given = found->second.sizes().vec();
    if (name == "hpm.metric" && given.size() == 2) shape[0] = given[0];
    if (given != shape)
      fail("{}: {} needs shape [{}], but has [{}]", path, name, fmt::join(shape, ","), fmt::join(given, ","));
    if (!found->second.isfinite().all().item<bool>()) fail("{}: {} holds NaN or infinite values", path, name);
    return found->second.to(at::kFloat);
  };
  const auto text = [&](const std::string& key, const std::string& otherwise) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? otherwise : found->second;
  };
  HpmHead head;
  head.means = take("hpm.means", {k, d}, true);
  head.metric = take("hpm.metric", {k, d}, false);
  head.calibration_sums = take("hpm.calibration_sums", {k, d}, false);
  head.calibration_counts = take("hpm.calibration_counts", {k}, head.calibration_sums.defined());
  head.log_tau = take("hpm.log_tau", {}, true);
  head.lambda = take("hpm.lambda", {}, true).item<double>();
  head.kind = parse_metric(text("hpm.metric_kind", head.metric.defined() ? "learned" : "none"));
  const auto number = [&](const std::string& key, const std::string& otherwise, double low, double high) {
    const auto written = text(key, otherwise);
    char* end = nullptr;
    const double value = std::strtod(written.c_str(), &end);
    if (end == written.c_str() || *end != 0 || !(value >= low && value <= high))
      fail("{}: {} needs to be a number from {} to {}, but is \"{}\"", path, key, low, high, written);
    return value;
  };
  head.temperature = number("hpm.temperature", "1", 1e-6, 1e6);
  head.momentum = number("hpm.momentum", ".99", 0, 1);
  if ((head.kind == MetricKind::learned) != head.metric.defined())
    fail("{}: the metric is \"{}\", but hpm.metric is {}", path, to_string(head.kind),
         head.metric.defined() ? "there" : "missing");
  // float32 stores .9 as .89999998. Seven digits give back the decimal that was meant.
  head.lambda = std::round(head.lambda * 1e7) / 1e7;
  if (head.lambda < 0 || head.lambda > 1) fail("{}: hpm.lambda needs to be in [0,1], but is {}", path, head.lambda);
  return head;
}

/// The head's settings that are no tensors, as texts under their keys in a file.
std::map<std::string, std::string> head_metadata(const HpmModel& model) {
  if (!model.head) return {};
  return {{"hpm.metric_kind", to_string(model.head->kind)},
          {"hpm.temperature", fmt::format("{}", model.head->temperature)},
          {"hpm.momentum", fmt::format("{}", model.head->momentum)}};
}

constexpr int64_t kUnchecked = 64;  // passes between two checks of features, on a GPU

std::string joined(const std::vector<double>& values) { return fmt::format("{}", fmt::join(values, ",")); }

}  // namespace

Output HpmModel::run(const Tensor& x) const {
  auto out = classifier.run(x);
  if (!out.features.defined()) return out;
  auto& [sum, passes] = *unchecked;
  // The sum is finite exactly if all features are, because float32 values cannot overflow a double. Checking each value
  // would cost ten times as much.
  const auto here = out.features.detach().sum(at::kDouble);
  sum = sum.defined() ? sum + here : here;
  if (++passes >= (x.is_cpu() ? 1 : kUnchecked)) look_at_features();
  return out;
}

void HpmModel::look_at_features() const {
  auto& [sum, passes] = *unchecked;
  passes = 0;
  if (!sum.defined() || std::isfinite(std::exchange(sum, {}).item<double>())) return;
  fail(
      "HpmModel: the penultimate features (the input of {}) hold NaN or infinite values; the weights or the input "
      "are broken",
      classifier.head_name());
}

HpmModel HpmModel::clone() const { return {classifier.clone(), head ? std::optional(head->clone()) : std::nullopt}; }

void HpmModel::to(at::Device device, at::ScalarType type) {
  classifier.to(device, type);
  if (head) head->to(device, type);
}

std::string HpmModel::head_kind() const { return !head ? "fc" : head->lambda == 1 ? "l2" : "hpm"; }

std::vector<std::pair<std::string, Tensor>> HpmModel::state() const {
  auto all = classifier.state();
  if (head)
    for (auto& item : head->state()) all.push_back(std::move(item));
  return all;
}

LoadedModel load_model(const std::string& path, const ModelCard& given, const std::vector<int64_t>& data_shape,
                       bool allow_torchscript) {
  auto loaded = load_classifier(path, given, data_shape, allow_torchscript);
  LoadedModel result{{loaded.classifier, std::nullopt}, loaded.file, loaded.notes, loaded.warnings};
  if (!loaded.extra.empty()) result.model.head = read_head(loaded, path);
  return result;
}

void save_model(const HpmModel& model, const std::string& path, const std::string& source,
                const std::map<std::string, std::string>& notes, WeightsFormat format) {
  const auto& info = model.classifier.info();
  auto architecture = info.architecture;
  if (is_torchscript(model.classifier)) {
    const auto program = std::filesystem::path(path).replace_extension(".torchscript.pt");
    save_torchscript(model.classifier, program.string(), source);
    architecture = "torchscript:" + program.filename().string();
  }
  const auto head = head_metadata(model);
  if (format == WeightsFormat::state_dict) {
    write_state_dict(path, model.state(), head);
  } else {
    std::map<std::string, std::string> metadata;
    for (const auto& [key, text] : notes) metadata[key] = printable_utf8(text);
    metadata.insert(head.begin(), head.end());
    metadata["format"] = "pt";
    metadata["model.arch"] = architecture;
    metadata["model.classes"] = std::to_string(info.classes);
    metadata["model.input-shape"] = fmt::format("{}", fmt::join(info.input_shape, ","));
    if (!info.normalisation.identity()) {
      metadata["model.mean"] = joined(info.normalisation.mean);
      metadata["model.std"] = joined(info.normalisation.std);
    }
    write_safetensors(path, model.state(), metadata);
  }
  write_card(path, {architecture,
                    info.classes,
                    info.normalisation.mean,
                    info.normalisation.std,
                    {info.input_shape.begin(), info.input_shape.end()},
                    source,
                    ""});
}

Classifier folded(const HpmModel& model) {
  require(model.head.has_value(),
          "folded: needs a model with an HPM head, but this one has none (hpm finetune attaches it)");
  const auto [weight, bias] = fold(*model.head);
  auto copy = model.classifier.clone();
  torch::NoGradGuard guard;
  copy.weight().copy_(weight);
  if (!copy.network()->head()->bias.defined())
    fail("folded: the layer {} has no bias, which the folded head needs; export to TorchScript instead",
         copy.head_name());
  copy.network()->head()->bias.copy_(bias);
  return copy;
}

}  // namespace hpm
