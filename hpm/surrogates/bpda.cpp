#include "hpm/surrogates/bpda.h"

#include <torch/library.h>
#include <torch/script.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <sstream>

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/io/sha256.h"
#include "hpm/models/script_module_impl.h"
#include "hpm/models/torchscript.h"
#include "hpm/models/torchscript_impl.h"

namespace hpm {
namespace {

/// The twins that graphs refer to by number; 0 is the identity. They live as long as the process, as the graphs may.
class Twins {
 public:
  int64_t add(torch::jit::Module module) {
    const std::lock_guard lock(mutex_);
    modules_.push_back(std::move(module));
    return static_cast<int64_t>(modules_.size());
  }
  torch::jit::Module& at(int64_t number) {
    const std::lock_guard lock(mutex_);
    return modules_.at(static_cast<size_t>(number - 1));
  }

 private:
  std::mutex mutex_;
  std::deque<torch::jit::Module> modules_;
};

Twins& twins() {
  static Twins all;
  return all;
}

/// The value y of a layer with input x, with the gradient of the layer's twin.
Tensor straight_through(const Tensor& x, const Tensor& y, int64_t twin) {
  if (!at::GradMode::is_enabled()) return y;
  if (twin != 0 && !x.is_cpu()) twins().at(twin).to(x.device());
  const auto soft = twin == 0 ? x : twins().at(twin).forward({x}).toTensor();
  if (soft.sizes() != y.sizes())
    fail("the twin of a layer gives [{}], but the layer [{}]; a twin needs the layer's shape",
         fmt::join(soft.sizes(), ","), fmt::join(y.sizes(), ","));
  return y.detach() + (soft - soft.detach());
}

TORCH_LIBRARY_FRAGMENT(hpm, library) {
  library.def("straight_through(Tensor x, Tensor y, int twin) -> Tensor", straight_through);
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream text(path);
  for (std::string part; std::getline(text, part, '.');) parts.push_back(part);
  return parts;
}

/// Puts the twin behind every call of the submodule `path` in the methods of `module`; how many there were.
int64_t rewrite(torch::jit::Module module, const std::vector<std::string>& path, int64_t twin) {
  int64_t found = 0;
  for (const auto& method : module.get_methods()) {
    auto graph = method.graph();
    for (auto* call : nodes_of(*graph, c10::prim::CallMethod)) {
      if (call->inputs().size() < 2 || path_of(call->input(0)) != path) continue;
      require(call->output()->type()->isSubtypeOf(*c10::TensorType::get()) &&
                  call->input(1)->type()->isSubtypeOf(*c10::TensorType::get()),
              "bpda: the submodule {} needs to map a tensor to a tensor", fmt::join(path, "."));
      const torch::jit::WithInsertPoint after(call->next());
      auto* number = graph->insertConstant(twin);
      auto* soft = graph->insertNode(graph->create(c10::Symbol::fromQualString("hpm::straight_through"),
                                                   {call->input(1), call->output(), number}));
      call->output()->replaceAllUsesAfterNodeWith(soft, soft->output());
      ++found;
    }
  }
  return found;
}

/// The submodules by name, without the model itself.
std::vector<std::string> submodules(const torch::jit::Module& module) {
  std::vector<std::string> names;
  for (const auto& m : module.named_modules())
    if (!m.name.empty()) names.push_back(m.name);
  return names;
}

/// The number of a layer's twin; what a reader must know about its file goes into `notes`.
int64_t twin_of(const BpdaLayer& layer, bool allow, std::vector<std::string>& notes) {
  if (layer.twin == "identity") return 0;
  require(allow,
          "bpda: {} is a TorchScript file, a program that loading runs. If you trust it, give --allow-torchscript",
          layer.twin);
  auto [module, note] = read_script(layer.twin, "bpda");
  for (auto parameter : module.parameters()) parameter.requires_grad_(false);
  if (!note.empty()) notes.push_back(std::move(note));
  return twins().add(std::move(module));
}

/// What was put where: the code of a class serves all its instances.
struct Rewritten {
  c10::ClassTypePtr type;  ///< of the module whose code calls the layer
  std::string path;        ///< from there to the layer
  std::string twin;
};

/// The full names of the layers that a rewritten class calls by that path, one for each of its instances.
std::vector<std::string> layers_of(const torch::jit::Module& model, const Rewritten& rewritten) {
  std::vector<std::string> names;
  for (const auto& m : model.named_modules())
    if (m.value.type() == rewritten.type)
      names.push_back(m.name.empty() ? rewritten.path : m.name + "." + rewritten.path);
  return names;
}

/// Throws UsageError where a stand-in serves a layer that was not named, or that has another one.
void check_instances(const torch::jit::Module& model, const std::vector<Rewritten>& all,
                     const std::vector<BpdaLayer>& layers) {
  for (const auto& rewritten : all)
    for (const auto& name : layers_of(model, rewritten)) {
      const auto given = std::find_if(layers.begin(), layers.end(), [&](const auto& l) { return l.name == name; });
      require(
          given != layers.end() && given->twin == rewritten.twin,
          "--bpda: the submodules {} belong to instances of one class, whose code is one: give each the same stand-in, "
          "{}",
          fmt::join(layers_of(model, rewritten), ", "), rewritten.twin);
    }
}

void require_submodule(const torch::jit::Module& model, const std::string& name, const std::string& file) {
  const auto names = submodules(model);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const auto nearest = nearest_name(name, names);
  fail_usage("--bpda: {} has no submodule \"{}\"{}; it has {}", file, name,
             nearest.empty() ? "" : ", did you mean " + nearest + "?",
             names.empty() ? "none (a frozen or inlined model has no submodules left)"
                           : fmt::format("{}", fmt::join(names, ", ")));
}

/// Puts the twin of that number behind every call of the layer; none is an error.
void put_twin(torch::jit::Module& model, const BpdaLayer& layer, int64_t twin, const std::string& file,
              std::vector<Rewritten>& done) {
  auto path = parts_of(layer.name);
  auto at = model;
  int64_t found = 0;
  while (!path.empty()) {  // the call may stand in the parent, or in any module around it
    const Rewritten here{at.type(), fmt::format("{}", fmt::join(path, ".")), layer.twin};
    const bool again = std::any_of(done.begin(), done.end(),
                                   [&](const auto& d) { return d.type == here.type && d.path == here.path; });
    const auto calls = again ? 1 : rewrite(at, path, twin);
    if (calls > 0 && !again) done.push_back(here);
    found += calls;
    at = at.attr(path.front()).toModule();
    path.erase(path.begin());
  }
  require(found > 0, "--bpda: {} never calls its submodule \"{}\", so that nothing can stand in for it", file,
          layer.name);
}

}  // namespace

BpdaLayer parse_bpda(const std::string& text) {
  const auto equals = text.find('=');
  require(equals != std::string::npos && equals > 0 && equals + 1 < text.size(),
          "--bpda: needs NAME=identity or NAME=FILE, where NAME is a submodule, but got \"{}\"", text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

Surrogate bpda_surrogate(const Classifier& model, const std::vector<BpdaLayer>& layers, bool allow) {
  const auto* script = script_network(model.network());
  require(script != nullptr,
          "--bpda: names a submodule of a TorchScript model, but {} is {}; all of whose layers have gradients",
          model.info().file, model.info().architecture);
  require(!layers.empty(), "bpda_surrogate: needs at least one layer");
  auto copy = script->module().clone();
  std::vector<std::string> words, notes;
  std::vector<Rewritten> done;
  for (const auto& layer : layers) {
    require_submodule(copy, layer.name, model.info().file);
    put_twin(copy, layer, twin_of(layer, allow, notes), model.info().file, done);
    const bool file = layer.twin != "identity";
    words.push_back(layer.name + "=" + (file ? "SHA-256 " + sha256_of_file(layer.twin) : layer.twin));
  }
  check_instances(copy, done, layers);
  const Classifier twin(std::make_shared<ScriptNetwork>(std::move(copy), ""), model.info());
  Surrogate bpda{.name = "bpda", .summary = fmt::format("backward through {}", fmt::join(words, ", "))};
  bpda.note = fmt::format("{}", fmt::join(notes, "; "));
  bpda.logits = [twin](const SurrogateInput& in) {
    try {
      return twin.logits(in.x);
    } catch (const std::exception& error) {  // of a twin: the interpreter puts its traceback before it
      fail("surrogate bpda: {}", script_reason(error));
    }
  };
  bpda.passes = [twin] { return twin.passes(); };
  bpda.through_network = false;
  bpda.own_passes = 1;
  bpda.checked = bpda.stand_in = true;
  return bpda;
}

}  // namespace hpm
