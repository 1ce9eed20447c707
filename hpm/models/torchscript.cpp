#include "hpm/models/torchscript.h"

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>

#include <sstream>

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/models/card.h"
#include "hpm/models/script_module_impl.h"
#include "hpm/models/torchscript_impl.h"

namespace hpm {
namespace {

/// A linear layer on memory that a script module holds.
class SharedLinear : public torch::nn::LinearImpl {
 public:
  SharedLinear(const Tensor& shared_weight, const Tensor& shared_bias) : LinearImpl(1, 1) {
    options = torch::nn::LinearOptions(shared_weight.size(1), shared_weight.size(0)).bias(shared_bias.defined());
    parameters_.clear();
    weight = register_parameter("weight", shared_weight, shared_weight.requires_grad());
    bias = shared_bias.defined() ? register_parameter("bias", shared_bias, shared_bias.requires_grad()) : Tensor();
  }
};

/// Restores the global generator: initial weights and random modules draw from it.
class ScopedGenerator {
 public:
  ScopedGenerator() : state_(generator_.get_state()) {}
  ~ScopedGenerator() { generator_.set_state(state_); }

 private:
  at::Generator generator_ = at::globalContext().defaultGenerator(at::kCPU);
  Tensor state_;
};

void check_trust(const std::string& path, const TorchScriptOptions& options) {
  require(options.allow || !options.sha256.empty(),
          "load_torchscript: {} is a TorchScript file, a program that loading runs. If you trust it, give "
          "--allow-torchscript, or put sha256 = \"{}\" under [model] into {}",
          path, sha256_of_file(path), card_path(path));
  if (options.sha256.empty()) return;
  const auto found = sha256_of_file(path);
  if (found != options.sha256)
    fail(
        "load_torchscript: {} has SHA-256 {}, but {} was asked for; the file was changed, or the card belongs to "
        "another",
        path, found, options.sha256);
}

NetworkOutput outputs_of(torch::jit::Module& module, const Tensor& x) {
  const auto out = module.forward({x});
  if (out.isTensor()) return {{}, out.toTensor()};
  if (out.isTuple() && out.toTupleRef().elements().size() == 2) {
    const auto& pair = out.toTupleRef().elements();
    if (pair[0].isTensor() && pair[1].isTensor()) return {pair[0].toTensor(), pair[1].toTensor()};
  }
  fail("load_torchscript: the module needs to give logits or a pair (features, logits), but gives {}", out.tagKind());
}

/// Two images that differ, the same in every run.
Tensor trial_images(const std::vector<int64_t>& shape) {
  const auto count = c10::multiply_integers(shape);
  auto x = at::linspace(0, 1, 2 * count).mul(97).frac();
  std::vector<int64_t> sizes{2};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return x.view(sizes);
}

/// Throws the error of a module that does not run on images of this shape: its first convolution tells channels.
[[noreturn]] void fail_on_images(const std::string& path, const torch::jit::Module& module,
                                 const std::vector<int64_t>& shape, const std::string& reason) {
  for (const auto& p : module.named_parameters())
    if (p.value.dim() == 4 && (p.value.size(1) == 1 || p.value.size(1) == 3) && p.value.size(1) != shape[0])
      fail_usage(
          "load_torchscript: {}: the images have {} channel{}, the model takes {}; give the data set that it was "
          "trained on (--data), or --input-shape",
          path, shape[0], shape[0] == 1 ? "" : "s", p.value.size(1));
  fail(
      "load_torchscript: {} does not run on images of {} ([channels,height,width]); give the data set that it was "
      "trained on (--data), or --input-shape. It says: {}",
      path, fmt::format("[{}]", fmt::join(shape, ",")), reason);
}

/// The last line of LibTorch's message, which tells what went wrong; the others tell where in the module.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1).substr(0, 500);
}

/// The submodule whose weight [K,D] and bias [K] map the features to the logits, "" for none.
std::string find_head(const torch::jit::Module& module, const NetworkOutput& out) {
  if (!out.features.defined() || out.features.dim() != 2) return {};
  std::map<std::string, Tensor> parameters;
  for (const auto& p : module.named_parameters()) parameters[p.name] = p.value;
  constexpr std::string_view suffix = ".weight";
  for (const auto& [name, weight] : parameters) {
    if (!name.ends_with(suffix)) continue;
    if (weight.sizes() != at::IntArrayRef{out.logits.size(1), out.features.size(1)}) continue;
    const auto layer = name.substr(0, name.size() - suffix.size());
    const auto found = parameters.find(layer + ".bias");
    const auto bias = found == parameters.end() ? Tensor() : found->second;
    if (bias.defined() && bias.sizes() != at::IntArrayRef{weight.size(0)}) continue;
    const auto logits = at::linear(out.features, weight, bias);
    if (logits.allclose(out.logits, 1e-4, 1e-5)) return layer;
  }
  return {};
}

}  // namespace

ScriptNetwork::ScriptNetwork(torch::jit::Module module, std::string head, std::string note)
    : module_(std::move(module)), head_name_(std::move(head)), note_(std::move(note)) {
  const ScopedGenerator untouched;
  adopt(*this, module_, "");
  seen_.clear();
}

void ScriptNetwork::adopt(torch::nn::Module& into, torch::jit::Module& from, const std::string& path) {
  // Tied parameters come out of a file as two tensors on one memory: they are made one again.
  const auto one = [&](const std::string& name, const Tensor& tensor) {
    for (const auto& other : seen_)
      if (tensor.numel() > 0 && other.data_ptr() == tensor.data_ptr() && other.sizes() == tensor.sizes())
        return from.setattr(name, other), other;
    return seen_.push_back(tensor), tensor;
  };
  for (const auto& p : from.named_parameters(false))
    into.register_parameter(p.name, one(p.name, p.value), p.value.requires_grad());
  for (const auto& b : from.named_buffers(false)) into.register_buffer(b.name, b.value);
  for (const auto& child : from.named_children()) {
    auto script = child.value;
    const auto name = path.empty() ? child.name : path + "." + child.name;
    if (name == head_name_) {
      const auto bias =
          script.hasattr("bias") && script.attr("bias").isTensor() ? script.attr("bias").toTensor() : Tensor();
      const std::shared_ptr<torch::nn::LinearImpl> layer =
          std::make_shared<SharedLinear>(script.attr("weight").toTensor(), bias);
      head_ = torch::nn::Linear(layer);
      into.register_module(child.name, head_.ptr());
    } else {
      adopt(*into.register_module(child.name, std::make_shared<torch::nn::Module>()), script, name);
    }
  }
}

NetworkOutput ScriptNetwork::run(const Tensor& x) {
  auto out = outputs_of(module_, x);
  if (head_.is_empty()) out.features.reset();
  return out;
}

std::shared_ptr<Network> ScriptNetwork::fresh() const {
  return std::make_shared<ScriptNetwork>(module_.deepcopy(), head_name_, note_);
}

const ScriptNetwork* script_network(const std::shared_ptr<Network>& network) {
  return dynamic_cast<const ScriptNetwork*>(network.get());
}

bool is_torchscript(const Classifier& classifier) { return script_network(classifier.network()) != nullptr; }

std::string training_mode_note(const Classifier& classifier) {
  const auto* script = script_network(classifier.network());
  return script ? script->note() : std::string();
}

Classifier load_torchscript(const std::string& path, const TorchScriptOptions& options) {
  check_trust(path, options);
  // The profiling executor specialises code during its first calls, which changes last bits.
  torch::jit::getProfilingMode() = false;
  torch::jit::getExecutorMode() = false;
  auto [module, note] = read_script(path, "load_torchscript");
  ClassifierInfo info{"torchscript", 0, options.input_shape, options.normalisation, path, sha256_of_file(path)};
  NetworkOutput out;
  {
    torch::NoGradGuard guard;
    const ScopedGenerator untouched;
    try {
      out = outputs_of(module, trial_images(options.input_shape));
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      fail_on_images(path, module, options.input_shape, last_line(error.what()));
    }
  }
  const auto rows_of_2 = [](const Tensor& t) { return t.dim() >= 2 && t.size(0) == 2; };
  if (out.logits.dim() != 2 || !rows_of_2(out.logits) || (out.features.defined() && !rows_of_2(out.features)))
    fail(
        "load_torchscript: {} needs to give logits [N,K], or features [N,D] before them, but gives [{}]{} for 2 images",
        path, fmt::join(out.logits.sizes(), ","),
        out.features.defined() ? fmt::format(" after [{}]", fmt::join(out.features.sizes(), ",")) : "");
  info.classes = out.logits.size(1);
  const auto head = find_head(module, out);
  return {std::make_shared<ScriptNetwork>(std::move(module), head, std::move(note)), info};
}

void save_torchscript(const Classifier& classifier, const std::string& path, const std::string& source) {
  const auto* script = script_network(classifier.network());
  require(script != nullptr, "save_torchscript: needs a classifier that came from a TorchScript file, but this is {}",
          classifier.info().architecture);
  std::ostringstream bytes;
  script->module().save(bytes);
  write_file_atomically(path, bytes.str());
  const auto& info = classifier.info();
  write_card(path, {"torchscript",
                    info.classes,
                    info.normalisation.mean,
                    info.normalisation.std,
                    {info.input_shape.begin(), info.input_shape.end()},
                    source,
                    sha256(bytes.str())});
}

std::string torchscript_program(const std::string& architecture, const std::string& checkpoint) {
  constexpr std::string_view prefix = "torchscript:";
  if (!architecture.starts_with(prefix)) return {};
  const std::filesystem::path name = architecture.substr(prefix.size());
  require(!name.empty() && name == name.filename() && name != "." && name != "..",
          "{}: \"{}\" needs to name a file beside the checkpoint", checkpoint, architecture);
  return (std::filesystem::path(checkpoint).parent_path() / name).string();
}

void require_features(const Classifier& classifier, std::string_view caller) {
  require(!classifier.is_black_box(),
          "{}: HPM needs the penultimate features and the last linear layer behind them, but {} gives logits alone. "
          "Export it with both:\n  python3 scripts/export_torchscript.py --module FILE.py:FACTORY --weights FILE "
          "--head NAME_OF_LAST_LINEAR --input-shape {} --to FILE.pt",
          caller, classifier.info().file.empty() ? classifier.info().architecture : classifier.info().file,
          fmt::join(classifier.info().input_shape, ","));
}

}  // namespace hpm
