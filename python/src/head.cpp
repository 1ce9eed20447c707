#include "engine.h"
#include "hpm/core/error.h"
#include "hpm/prototypes/context.h"
#include "hpm/training/finetune.h"
#include "python_monitor.h"

namespace hpm::python {
namespace {

Assignment parse_assignment(const std::string& name) {
  if (name == "ste") return Assignment::ste;
  if (name == "hard") return Assignment::hard;
  if (name == "soft") return Assignment::soft;
  fail_usage("assignment: needs ste, hard or soft, but got \"{}\"", name);
}

/// Logits [N,K] of the context solo within one batch: each row among the clean others. z, o: of the rows that are
/// judged; clean_z [N,D], clean_o [N,K]: of the clean versions of all rows, whose features are constants.
Tensor solo_logits(const HpmHead& head, const Tensor& h, const Assigned& assigned, const Tensor& clean_z,
                   const Tensor& clean_o) {
  const auto own = head.embed(clean_z.detach());
  const auto company = class_statistics(hard_assignment(clean_o), own);
  const auto own_class = clean_o.detach().argmax(1);
  const auto neighbours = make_neighbours(head, company.sums.unsqueeze(0), company.counts.unsqueeze(0),
                                          at::zeros_like(own_class), own_class, own);
  const auto rows = neighbours.of(at::arange(h.size(0), own_class.options()));
  return row_logits(head, h, assigned, &rows);
}

/// The head's logits of features z [N,D] and FC logits o [N,K] in a context.
Tensor head_logits(const HpmHead& head, const std::string& context, const Tensor& z, const Tensor& o,
                   const std::string& assignment, const std::optional<Tensor>& clean_z,
                   const std::optional<Tensor>& clean_o) {
  const auto h = head.embed(z);
  if (context == "stable") return stable_logits(head, h);
  const auto kind = parse_context(context);
  if (kind == ContextKind::reference) return reference_logits(head, h);
  const auto assigned = assign(o, parse_assignment(assignment), head.temperature);
  if (kind == ContextKind::joint) return joint_logits(head, h, assigned);
  if (kind == ContextKind::alone) return row_logits(head, h, assigned);
  require(kind == ContextKind::solo, "context: a module predicts in reference, alone, solo or joint; {} needs hpm.msa",
          context);
  return solo_logits(head, h, assigned, clean_z.value_or(z), clean_o.value_or(o));
}

/// How a head is fitted on images in memory.
struct FitCall {
  Tensor x, y;  ///< [M,C,H,W] in [0,1], [M] int64
  std::string norm = "Linf";
  double eps = 0;
  int64_t adversary_steps = 4, rounds = 2, metric_steps = 400, rank = 0;
  std::optional<double> tau;
  uint64_t seed = 0;

  Dataset dataset() const { return {.name = "images in memory", .split = "train", .pixels = x, .labels = y}; }
  FinetuneOptions options() const {
    FinetuneOptions o{
        .rank = rank, .tau = tau, .fit_images = y.size(0), .fit_rounds = rounds, .metric_steps = metric_steps};
    o.adversary.threat = {parse_norm(norm), eps};
    o.adversary.steps = adversary_steps;
    o.loop.seed = seed;
    return o;
  }
};

HpmHead attached(HpmModel model, const HpmHead& settings, const FitCall& call, const py::object& observer) {
  PythonMonitor monitor(observer);
  const py::gil_scoped_release released;
  const at::AutoGradMode gradients(true);
  auto options = call.options();
  options.metric = to_string(settings.kind);
  options.lambda = settings.lambda, options.temperature = settings.temperature, options.ema = settings.momentum;
  if (settings.lambda == 1) options.head = "l2";
  const auto data = call.dataset();
  attach_head(model, data, options, monitor);
  model.head = model.head->clone();
  calibrate(model, data, options, monitor);
  return *model.head;
}

HpmHead calibrated(HpmModel model, const FitCall& call, const py::object& observer) {
  PythonMonitor monitor(observer);
  const py::gil_scoped_release released;
  const at::AutoGradMode gradients(true);
  model.head = model.head->clone();
  calibrate(model, call.dataset(), call.options(), monitor);
  return *model.head;
}

}  // namespace

void declare_head(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> without_gil;
  py::class_<HpmHead>(module, "Head")
      .def(py::init([](const std::string& metric, double lambda, double temperature, double momentum) {
        return HpmHead{
            .kind = parse_metric(metric), .lambda = lambda, .temperature = temperature, .momentum = momentum};
      }))
      .def_property_readonly("metric_kind", [](const HpmHead& head) { return to_string(head.kind); })
      .def_readwrite("lambda_", &HpmHead::lambda)
      .def_readwrite("temperature", &HpmHead::temperature)
      .def_readwrite("momentum", &HpmHead::momentum)
      .def_readwrite("means", &HpmHead::means)
      .def_readwrite("metric", &HpmHead::metric)
      .def_readwrite("calibration_sums", &HpmHead::calibration_sums)
      .def_readwrite("calibration_counts", &HpmHead::calibration_counts)
      .def_readwrite("log_tau", &HpmHead::log_tau)
      .def("logits", head_logits, py::arg("context"), py::arg("z"), py::arg("o"), py::arg("assignment") = "ste",
           py::arg("clean_z") = py::none(), py::arg("clean_o") = py::none(), without_gil)
      .def("update_means", &HpmHead::update_means, without_gil)
      .def(
          "fold", [](const HpmHead& head) { return fold(head); }, without_gil);
  py::class_<FitCall>(module, "FitCall")
      .def(py::init<>())
      .def_readwrite("x", &FitCall::x)
      .def_readwrite("y", &FitCall::y)
      .def_readwrite("norm", &FitCall::norm)
      .def_readwrite("eps", &FitCall::eps)
      .def_readwrite("adversary_steps", &FitCall::adversary_steps)
      .def_readwrite("rounds", &FitCall::rounds)
      .def_readwrite("metric_steps", &FitCall::metric_steps)
      .def_readwrite("rank", &FitCall::rank)
      .def_readwrite("tau", &FitCall::tau)
      .def_readwrite("seed", &FitCall::seed);
  module.def("attach_head", attached);
  module.def("calibrate", calibrated);
}

}  // namespace hpm::python
