#include <nlohmann/json.hpp>

#include "callable_surrogate.h"
#include "engine.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/analysis/analysis_results.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/evaluate.h"
#include "hpm/io/file.h"
#include "hpm/report/report.h"
#include "python_monitor.h"

namespace hpm::python {
namespace {

/// The images under evaluation, in memory.
struct EvaluatedImages {
  Tensor x, y;  ///< [n,C,H,W] in [0,1], [n] int64
  std::string name, split;
  std::vector<std::string> class_names;

  Dataset dataset() const {
    Dataset data{.name = name, .split = split};
    data.pixels = x.detach().to(at::kCPU), data.labels = y.to(at::kCPU);
    data.class_names = class_names;
    data.names_known = !class_names.empty();
    return data;
  }
};

using OptionTexts = std::map<std::string, std::string>;

/// An evaluation of a model, or of a defence written in Python.
struct EvaluationCall {
  OptionTexts options;  ///< by their names on the command line
  std::string out;
  bool resume = false, overwrite = false;
  std::optional<HpmModel> base, control;
  std::vector<CallableSurrogate> surrogates;
};

void set_all(Fields& declared, const OptionTexts& texts) {
  for (const auto& [name, text] : texts) declared.set(name, text, Origin::flag, name);
}

ExistingRun existing(const EvaluationCall& call) {
  return call.resume ? ExistingRun::resume : call.overwrite ? ExistingRun::overwrite : ExistingRun::refuse;
}

/// Threads for the time of an evaluation: those asked for, else as they are.
std::unique_ptr<ScopedThreads> scoped_threads(const ComputeOptions& compute) {
  return compute.threads > 0 ? std::make_unique<ScopedThreads>(compute.threads) : nullptr;
}

EvaluationInput input_of(const HpmModel& model, const EvaluatedImages& images, const EvaluationCall& call,
                         const EvaluationOptions& options) {
  EvaluationInput input{.model = model, .data = images.dataset()};
  input.index = at::arange(input.data.labels.size(0));
  if (input.model.head && options.lambda) input.model.head->lambda = *options.lambda;
  if (call.base) input.peers.base = call.base->classifier;
  if (call.control) input.peers.control = call.control->classifier;
  for (const auto& surrogate : call.surrogates)
    input.surrogates.push_back(as_surrogate(surrogate, model.classifier.classes()));
  return input;
}

py::object optional_tensor(const Tensor& tensor) { return tensor.defined() ? py::cast(tensor) : py::none(); }

/// The tensors of an outcome; all figures are in results.json.
py::dict tensors_of(const EvaluationOutcome& outcome, const Tensor& adversarial) {
  py::dict out;
  py::list contexts;
  for (const auto& context : outcome.evaluation.contexts) {
    py::dict one;
    one["context"] = context.context;
    one["clean_correct"] = context.clean_correct;
    one["robust"] = context.robust;
    contexts.append(one);
  }
  out["contexts"] = contexts;
  out["adversarial"] = optional_tensor(adversarial);
  return out;
}

py::tuple run_evaluation(const HpmModel& model, const EvaluatedImages& images, const EvaluationCall& call,
                         const py::object& observer) {
  PythonMonitor monitor(observer);
  EvaluationOptions options;
  Fields declared;
  fields(declared, options);
  set_all(declared, call.options);
  EvaluationOutcome outcome;
  std::string results;
  Tensor adversarial;
  {
    const py::gil_scoped_release released;
    use_official_computing(declared, options);
    const auto threads = scoped_threads(options.compute);
    const auto input = input_of(model, images, call, options);
    const auto plan = plan_evaluation(input, options);
    for (const auto& unused : plan.unused)
      if (declared.given(unused.name)) monitor.warn(fmt::format("{} has no effect: {}", unused.name, unused.why));
    for (const auto& text : plan.notes) monitor.warn(text);
    const RunDirectory run(call.out, declared, environment_json(options.compute, options.seed), existing(call));
    outcome = evaluate(input, options, plan, {run, call.resume}, monitor);
    results = write_results(input, options, outcome, run, declared.json());
    const auto& found = outcome.evaluation.first().adversarial;
    if (found.defined()) adversarial = found.all();
  }
  return py::make_tuple(results, tensors_of(outcome, adversarial));
}

/// The sensitivity study; its figures are in analysis.json of the folder.
std::string run_analysis(const HpmModel& model, const EvaluatedImages& images, const OptionTexts& texts,
                         const std::string& out, const py::object& observer) {
  struct {
    std::string norm = "Linf", eps = "8/255", loss = "ce";
    std::vector<double> iterations{1, 2, 5, 10, 20, 50, 100};
    uint64_t seed = 0;
    ComputeOptions compute;
  } o;
  Fields declared;
  declared.section("threat");
  declared.add("norm", o.norm, "norm of the perturbation", {.choices = {"Linf", "L2", "L1"}});
  declared.add("eps", o.eps, "radius, or a list for a curve", {.radius = true});
  declared.section("attack");
  declared.add("iterations", o.iterations, "steps of APGD for the curve against iterations", {.min = 1});
  declared.add("loss", o.loss, "loss of APGD", {.choices = {"ce", "dlr"}});
  declared.section("run");
  declared.add("seed", o.seed, "of all random numbers");
  fields(declared, o.compute);
  set_all(declared, texts);

  PythonMonitor monitor(observer);
  const py::gil_scoped_release released;
  const auto threads = scoped_threads(o.compute);
  EvaluationOptions threat_list;
  threat_list.norm = o.norm, threat_list.eps = o.eps;
  const auto radii = threat_list.radii();
  AnalysisOptions options{.loss = parse_loss(o.loss), .seed = o.seed, .batch_size = o.compute.batch_size};
  options.iterations.assign(o.iterations.begin(), o.iterations.end());
  for (const auto& radius : radii) options.radii.push_back(radius.eps);
  if (radii.size() == 1)
    for (double part : {.25, .5, .75, 1.5, 2.}) options.radii.push_back(part * radii.front().eps);
  const auto data = images.dataset();
  const auto index = at::arange(data.size());
  const auto set = image_set(data, index, model.classifier.device());
  const RunDirectory run(out, declared, environment_json(o.compute, o.seed), ExistingRun::overwrite);
  const auto analysis = analyze(model, set, radii.front(), options, {monitor});
  AnalysisInput input{model, data, set.y, index, radii.front(), options, analysis};
  input.config = declared.json();
  write_analysis(run, input);
  write_analysis_charts(out);
  write_report({out}, run.file("report.html"));
  return analysis_json(input);
}

/// The names of an evaluation's options with their help, for the documentation.
std::vector<std::pair<std::string, std::string>> option_names() {
  EvaluationOptions options;
  Fields declared;
  fields(declared, options);
  std::vector<std::pair<std::string, std::string>> all;
  for (const auto& field : declared.all()) all.emplace_back(field.name, field.help);
  return all;
}

}  // namespace

void declare_evaluation(py::module_& module) {
  py::class_<EvaluatedImages>(module, "EvaluatedImages")
      .def(py::init([](Tensor x, Tensor y, std::string name, std::string split, std::vector<std::string> names) {
        return EvaluatedImages{std::move(x), std::move(y), std::move(name), std::move(split), std::move(names)};
      }));
  py::class_<CallableSurrogate>(module, "Surrogate")
      .def(py::init([](std::string name, std::string summary, std::string identity, py::object call) {
        return CallableSurrogate{std::move(name), std::move(summary), std::move(identity),
                                 shared_object(std::move(call))};
      }));
  py::class_<EvaluationCall>(module, "EvaluationCall")
      .def(py::init<>())
      .def_readwrite("options", &EvaluationCall::options)
      .def_readwrite("out", &EvaluationCall::out)
      .def_readwrite("resume", &EvaluationCall::resume)
      .def_readwrite("overwrite", &EvaluationCall::overwrite)
      .def_readwrite("base", &EvaluationCall::base)
      .def_readwrite("control", &EvaluationCall::control)
      .def_readwrite("surrogates", &EvaluationCall::surrogates);
  module.def("evaluate", run_evaluation);
  module.def("analyze", run_analysis);
  module.def("option_names", option_names);
  module.def(
      "write_report",
      [](const std::vector<std::string>& runs, const std::string& path, const std::string& title,
         const std::vector<std::string>& labels) {
        write_report(runs, path, {title, labels});
      },
      py::call_guard<py::gil_scoped_release>());
  module.def(
      "write_table",
      [](const std::vector<std::string>& runs, const std::string& path, const std::vector<std::string>& labels) {
        write_table(runs, path, {{}, labels});
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hpm::python
