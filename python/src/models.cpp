#include "callable_network.h"
#include "engine.h"
#include "hpm/core/error.h"
#include "hpm/io/tensors.h"
#include "hpm/io/torch_file_write.h"
#include "hpm/models/normalisation.h"
#include "hpm/prototypes/model.h"

namespace hpm::python {
namespace {

struct CallableDescription {
  int64_t classes = 0;
  std::vector<int64_t> input_shape;
  std::string architecture, file, sha256;
  std::vector<Tensor> parameters;
};

HpmModel callable_model(py::object call, const CallableDescription& d, const std::optional<LastLayer>& last,
                        const std::optional<HpmHead>& head) {
  ClassifierInfo info{d.architecture, d.classes, d.input_shape, {}, d.file, d.sha256};
  info.normalisation = {{0.}, {1.}};  // it normalises by itself
  auto network = std::make_shared<CallableNetwork>(std::move(call), d.classes, d.parameters, last);
  return {Classifier(std::move(network), std::move(info)), head};
}

/// Predicted logits [N,K] of images [N,C,H,W]: of a model without a head its own, of one with a head those of a
/// context.
Tensor predicted_logits(const HpmModel& model, const Tensor& x, const std::string& context) {
  torch::NoGradGuard guard;
  const auto out = model.run(x);
  if (!model.head) return out.logits;
  Context chosen{parse_context(context)};
  require(chosen.kind != ContextKind::solo_eot, "predict: solo-eot draws its companies in an evaluation alone");
  const auto index = at::arange(x.size(0));
  if (chosen.kind == ContextKind::solo)
    chosen.company = std::make_shared<Company>(*model.head, index, out.features, out.logits, x.size(0), 0);
  return prediction_logits(*model.head, chosen, out.features, out.logits, index);
}

ModelCard card_of(const std::map<std::string, std::string>& given) {
  ModelCard card;
  Fields declared;
  fields(declared, card);
  for (const auto& [name, text] : given) declared.set(name, text, Origin::flag, name);
  return card;
}

py::tuple load(const std::string& path, const std::map<std::string, std::string>& card,
               const std::vector<int64_t>& shape, bool allow_torchscript) {
  LoadedModel loaded;
  {
    const py::gil_scoped_release released;
    loaded = load_model(path, card_of(card), shape, allow_torchscript);
  }
  return py::make_tuple(loaded.model, loaded.notes, loaded.warnings);
}

py::tuple read(const std::string& path, const std::string& key) {
  CheckpointFile file;
  {
    const py::gil_scoped_release released;
    file = read_checkpoint(path, key);
  }
  py::dict tensors;
  for (const auto& [name, tensor] : file.tensors) tensors[py::str(name)] = tensor;
  py::dict about;
  about["container"] = file.container;
  about["sha256"] = file.sha256;
  about["key"] = file.key;
  about["peeled"] = file.peeled;
  about["ignored"] = file.ignored;
  about["unread"] = file.unread;
  about["warnings"] = file.warnings;
  about["metadata"] = file.metadata;
  about["mean"] = file.mean;
  about["std"] = file.std;
  std::vector<std::string> keys;
  for (const auto& candidate : file.candidates) keys.push_back(candidate.key);
  about["keys"] = keys;
  return py::make_tuple(tensors, about);
}

void save(const HpmModel& model, const std::string& path, const std::string& source, bool state_dict) {
  const py::gil_scoped_release released;
  save_model(model, path, source, {}, state_dict ? WeightsFormat::state_dict : WeightsFormat::safetensors);
}

py::tuple run(const HpmModel& model, const Tensor& x) {
  Output out;
  {
    const py::gil_scoped_release released;
    out = model.run(x);
  }
  return py::make_tuple(out.features.defined() ? py::cast(out.features) : py::none(), out.logits);
}

std::map<std::string, Tensor> state_of(const HpmModel& model) {
  std::map<std::string, Tensor> all;
  for (const auto& [name, tensor] : model.state()) all.emplace(name, tensor);
  return all;
}

}  // namespace

void declare_models(py::module_& module) {
  py::class_<CallableDescription>(module, "CallableDescription")
      .def(py::init<>())
      .def_readwrite("classes", &CallableDescription::classes)
      .def_readwrite("input_shape", &CallableDescription::input_shape)
      .def_readwrite("architecture", &CallableDescription::architecture)
      .def_readwrite("file", &CallableDescription::file)
      .def_readwrite("sha256", &CallableDescription::sha256)
      .def_readwrite("parameters", &CallableDescription::parameters);
  py::class_<LastLayer>(module, "LastLayer")
      .def(py::init([](std::string name, Tensor weight, std::optional<Tensor> bias) {
        return LastLayer{std::move(name), std::move(weight), bias.value_or(Tensor())};
      }));
  py::class_<HpmModel>(module, "Model")
      .def("run", run)
      .def("predict", predicted_logits, py::call_guard<py::gil_scoped_release>())
      .def("save", save)
      .def("state", state_of)
      .def("to", [](HpmModel& model, const std::string& device) { model.to(at::Device(device)); })
      .def_property_readonly("head_kind", &HpmModel::head_kind)
      .def_readonly("head", &HpmModel::head)
      .def_property_readonly("classes", [](const HpmModel& m) { return m.classifier.classes(); })
      .def_property_readonly("architecture", [](const HpmModel& m) { return m.classifier.info().architecture; })
      .def_property_readonly("input_shape", [](const HpmModel& m) { return m.classifier.info().input_shape; })
      .def_property_readonly("mean", [](const HpmModel& m) { return m.classifier.info().normalisation.mean; })
      .def_property_readonly("std", [](const HpmModel& m) { return m.classifier.info().normalisation.std; })
      .def_property_readonly("parameter_count", [](const HpmModel& m) { return m.classifier.parameter_count(); })
      .def_property_readonly("sha256", [](const HpmModel& m) { return m.classifier.info().sha256; })
      .def_property_readonly("device", [](const HpmModel& m) { return m.classifier.device().str(); })
      .def_property_readonly("normalisation_known",
                             [](const HpmModel& m) { return normalisation_known(m.classifier); });
  module.def("callable_model", callable_model);
  module.def("load_model", load);
  module.def("read_checkpoint", read);
  module.def("write_state_dict", &write_state_dict, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hpm::python
