#include "hpm/prototypes/torchscript_export.h"

#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/script.h>

#include <sstream>

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/models/torchscript_impl.h"

namespace hpm {
namespace {

namespace jit = torch::jit;

/// n rows of example values between 0 and 1, the same in every run.
Tensor example(int64_t n, std::vector<int64_t> row) {
  const auto count = n * c10::multiply_integers(row);
  row.insert(row.begin(), n);
  return at::linspace(0, 1, count).mul(97).frac().view(row);
}

jit::Module new_module(const std::string& name, const std::shared_ptr<jit::CompilationUnit>& unit) {
  return jit::Module(c10::QualifiedName("__torch__.hpm." + name), unit, true);
}

/// Parameters and buffers under their names, module by module; the memory is shared.
void register_state(jit::Module& into, const torch::nn::Module& from,
                    const std::shared_ptr<jit::CompilationUnit>& unit) {
  for (const auto& p : from.named_parameters(false)) into.register_parameter(p.key(), p.value(), false);
  for (const auto& b : from.named_buffers(false)) into.register_buffer(b.key(), b.value());
  for (const auto& child : from.named_children()) {
    auto script = new_module("Layer", unit);
    register_state(script, *child.value(), unit);
    into.register_module(child.key(), script);
  }
}

/// Gives the module a method forward: the trace of `function` on `inputs`. Where the trace meets one of the module's
/// tensors, it reads it from the module.
void trace_forward(jit::Module& module, jit::Stack inputs, const std::vector<std::string>& names,
                   const std::function<c10::IValue(const jit::Stack&)>& function) {
  const auto traced = jit::tracer::trace(
      std::move(inputs), [&](const jit::Stack& stack) { return jit::Stack{function(stack)}; },
      [](const torch::autograd::Variable&) { return std::string(); }, true, false, &module, names);
  auto* method = module.type()->compilation_unit()->create_function(
      c10::QualifiedName(*module.type()->name(), "forward"), traced.first->graph);
  module.type()->addMethod(method);
}

/// The backbone: normalised images -> (features, logits), or logits alone for a black box from TorchScript.
jit::Module backbone(const Classifier& classifier, const std::shared_ptr<jit::CompilationUnit>& unit) {
  if (const auto* script = script_network(classifier.network())) return script->module();
  auto module = new_module("Network", unit);
  register_state(module, *classifier.network(), unit);
  trace_forward(module, {example(2, classifier.info().input_shape)}, {"x"}, [&](const jit::Stack& stack) {
    const auto out = classifier.network()->run(stack[0].toTensor());
    return c10::ivalue::Tuple::create(out.features, out.logits);
  });
  return module;
}

/// The head in a context: features, FC logits -> logits.
jit::Module head_module(const HpmHead& head, ContextKind context, const std::shared_ptr<jit::CompilationUnit>& unit) {
  auto module = new_module("Head", unit);
  constexpr std::string_view prefix = "hpm.";
  for (const auto& [name, tensor] : head.state())
    if (name != "hpm.lambda") module.register_buffer(name.substr(prefix.size()), tensor);  // a constant of the trace
  trace_forward(module, {example(2, {head.means.size(1)}), example(2, {head.classes()})}, {"features", "logits"},
                [&](const jit::Stack& stack) {
                  return prediction_logits(head, {context}, stack[0].toTensor(), stack[1].toTensor(), Tensor());
                });
  return module;
}

jit::Module assemble(const HpmModel& model, ContextKind context) {
  const auto unit = std::make_shared<jit::CompilationUnit>();
  auto root = new_module("Model", unit);
  const auto& classifier = model.classifier;
  root.register_module("network", backbone(classifier, unit));
  std::string input = "x", body;
  if (const auto& normalisation = classifier.info().normalisation; !normalisation.identity()) {
    const auto per_channel = [](const std::vector<double>& values) {
      return torch::tensor(values, at::kDouble).view({1, -1, 1, 1}).to(at::kFloat);
    };
    root.register_buffer("mean", per_channel(normalisation.mean));
    root.register_buffer("std", per_channel(normalisation.std));
    input = "(x - self.mean) / self.std";
  }
  if (model.head) {
    root.register_module("hpm", head_module(*model.head, context, unit));
    body = "    return self.hpm.forward(features, logits)\n";
  } else {
    body = "    return logits\n";
  }
  const auto* outputs = classifier.is_black_box() ? "logits" : "features, logits";
  root.define(fmt::format("def forward(self, x: Tensor) -> Tensor:\n    {} = self.network.forward({})\n{}", outputs,
                          input, body));
  root.eval();
  return root;
}

Tensor logits_of(const HpmModel& model, ContextKind context, const Tensor& x) {
  const auto out = model.classifier.run(x);
  return model.head ? prediction_logits(*model.head, {context}, out.features, out.logits, Tensor()) : out.logits;
}

}  // namespace

void export_torchscript(const HpmModel& model, ContextKind context, const std::string& path,
                        const std::string& source) {
  require(!model.head || context == ContextKind::reference || context == ContextKind::alone,
          "export_torchscript: needs the context reference or alone, in which a logit depends on its image alone, but "
          "got {}",
          to_string(context));
  torch::NoGradGuard guard;
  auto copy = model.clone();
  copy.to(at::kCPU);
  auto module = assemble(copy, context);
  const auto& info = copy.classifier.info();
  for (const int64_t n : {1, 3}) {
    const auto x = example(n, info.input_shape);
    const auto expected = logits_of(copy, context, x), found = module.forward({x}).toTensor();
    if (!found.allclose(expected, 1e-5, 1e-5))
      fail("export_torchscript: the exported module's logits differ by {:.3g} from those of {} for a batch of {}",
           (found - expected).abs().max().item<double>(), info.architecture, n);
  }
  std::ostringstream bytes;
  module.save(bytes);
  write_file_atomically(path, bytes.str());
  write_card(path, {"torchscript",
                    info.classes,
                    {},
                    {},
                    {info.input_shape.begin(), info.input_shape.end()},
                    source,
                    sha256(bytes.str())});
}

}  // namespace hpm
