#include "engine.h"
#include "hpm/attacks/autoattack.h"
#include "hpm/core/device.h"
#include "hpm/io/sha256.h"
#include "hpm/prototypes/model.h"
#include "python_monitor.h"

namespace hpm::python {
namespace {

/// What to attack, and how.
struct SequenceCall {
  std::string norm = "Linf";
  double eps = 0;
  std::vector<AttackSpec> attacks;
  uint64_t seed = 0;
  int64_t batch_size = 250;
  bool conformance = false, random = false;
  std::string journal;      ///< the folder of finished work; empty: none
  std::string fingerprint;  ///< what the work depends on
};

AutoAttackOptions options_of(const SequenceCall& call, const SharedObject& observer) {
  AutoAttackOptions options{
      .version = "custom", .seed = call.seed, .batch_size = call.batch_size, .conformance = call.conformance};
  options.on_chunk = [observer](const AttackSpec& spec, const Tensor& rows, const Tensor& broken) {
    const auto found = broken.sum().item<int64_t>();
    const py::gil_scoped_acquire gil;
    if (!observer->is_none()) observer->attr("chunk")(spec.name, rows.numel(), found);
  };
  return options;
}

AutoAttackResult attacked(const HpmModel& model, const Tensor& x, const Tensor& y, const SequenceCall& call,
                          const SharedObject& observer, PythonMonitor& monitor) {
  const auto device = model.classifier.device();
  const Images images{x.detach().to(device), y.to(device), at::arange(y.size(0))};
  std::optional<ScopedThreads> one;
  if (call.conformance) one.emplace(1);  // the official code's bits are those of one thread
  std::optional<Journal> journal;
  if (!call.journal.empty()) journal.emplace(call.journal, call.fingerprint, true);
  ClassifierModel subject(model.classifier, call.random);
  const at::AutoGradMode gradients(true);
  return run_sequence(subject, images, {parse_norm(call.norm), call.eps}, {call.attacks, {}},
                      options_of(call, observer), monitor, journal ? WorkLog(*journal) : WorkLog());
}

py::dict run(const HpmModel& model, const Tensor& x, const Tensor& y, const SequenceCall& call,
             const py::object& observer) {
  const auto shared = shared_object(observer);
  PythonMonitor monitor(observer);
  AutoAttackResult result;
  Tensor adversarial;
  {
    const py::gil_scoped_release released;
    result = attacked(model, x, y, call, shared, monitor);
    adversarial = result.adversarial.all();
  }
  py::list attacks;
  for (const auto& attack : result.attacks) {
    py::dict one;
    one["name"] = attack.spec.name;
    one["robust"] = attack.robust;
    one["forward_passes"] = attack.passes.forward;
    one["backward_passes"] = attack.passes.backward;
    one["seconds"] = attack.seconds;
    attacks.append(one);
  }
  py::dict out;
  out["clean_correct"] = result.clean_correct;
  out["clean_prediction"] = result.clean_prediction;
  out["robust"] = result.robust();
  out["adversarial"] = adversarial;
  out["attacks"] = attacks;
  out["borderline"] = result.borderline;
  out["norm_excess"] = result.norm_excess;
  return out;
}

/// SHA-256 of tensors' shapes, types and contents.
std::string sha256_of_tensors(const std::vector<Tensor>& tensors) {
  Sha256 hash;
  for (const auto& tensor : tensors) {
    const auto t = tensor.detach().to(at::kCPU).contiguous();
    const auto form = fmt::format("{} [{}]", toString(t.scalar_type()), fmt::join(t.sizes(), ","));
    hash.update(std::as_bytes(std::span(form)));
    hash.update({static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()});
  }
  return hash.hex();
}

}  // namespace

void declare_attacks(py::module_& module) {
  py::class_<AttackSpec>(module, "AttackSpec")
      .def(py::init([](std::string name) { return AttackSpec{.name = std::move(name)}; }))
      .def_readwrite("name", &AttackSpec::name)
      .def_readwrite("steps", &AttackSpec::steps)
      .def_readwrite("restarts", &AttackSpec::restarts)
      .def_readwrite("targets", &AttackSpec::targets)
      .def_readwrite("queries", &AttackSpec::queries)
      .def_readwrite("eot", &AttackSpec::eot)
      .def_readwrite("large_radius", &AttackSpec::large_radius);
  py::class_<SequenceCall>(module, "SequenceCall")
      .def(py::init<>())
      .def_readwrite("norm", &SequenceCall::norm)
      .def_readwrite("eps", &SequenceCall::eps)
      .def_readwrite("attacks", &SequenceCall::attacks)
      .def_readwrite("seed", &SequenceCall::seed)
      .def_readwrite("batch_size", &SequenceCall::batch_size)
      .def_readwrite("conformance", &SequenceCall::conformance)
      .def_readwrite("random", &SequenceCall::random)
      .def_readwrite("journal", &SequenceCall::journal)
      .def_readwrite("fingerprint", &SequenceCall::fingerprint);
  module.def("run_sequence", run);
  module.def("attack_names", [] {
    std::vector<std::string> names;
    for (const auto& entry : attack_table())
      if (!entry.objective) names.push_back(entry.name);
    return names;
  });
  module.def("sha256_of_tensors", sha256_of_tensors, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hpm::python
