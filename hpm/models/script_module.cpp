#include <torch/script.h>

#include <algorithm>
#include <optional>

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "hpm/models/script_module_impl.h"

namespace hpm {
namespace {

constexpr const char* kMode = "training";
constexpr size_t kNamed = 3;  // submodules that a note names

bool in_training_mode(const torch::jit::Module& module) {
  if (!module.hasattr(kMode)) return false;
  const auto mode = module.attr(kMode);
  return mode.isBool() && mode.toBool();
}

std::optional<torch::jit::Module> submodule(const torch::jit::Module& module, const std::string& name) {
  if (!module.hasattr(name)) return std::nullopt;
  const auto value = module.attr(name);
  return value.isModule() ? std::optional(value.toModule()) : std::nullopt;
}

/// The submodules in training mode whose mode some code asks for, by name. (Around a network in evaluation mode there
/// is often a module that nobody told: nothing depends on its mode. A trace has its mode in its code.)
std::vector<std::string> modules_that_train(const torch::jit::Module& module) {
  std::vector<std::string> names;
  for (const auto& holder : module.named_modules())
    for (const auto& method : holder.value.get_methods())
      for (const auto* node : nodes_of(*method.graph(), c10::prim::GetAttr)) {
        if (node->s(c10::attr::name) != kMode) continue;
        auto name = holder.name;
        auto asked = std::optional(holder.value);
        for (const auto& part : path_of(node->input(0))) {
          asked = submodule(*asked, part);
          if (!asked) break;
          name += (name.empty() ? "" : ".") + part;
        }
        if (name.empty()) name = "the module itself";
        const bool fresh = std::find(names.begin(), names.end(), name) == names.end();
        if (fresh && asked && in_training_mode(*asked)) names.push_back(name);
      }
  return names;
}

std::string note_of(const std::string& path, std::vector<std::string> names) {
  if (names.empty()) return {};
  const auto more = names.size() > kNamed ? fmt::format(" and {} more", names.size() - kNamed) : std::string();
  names.resize(std::min(names.size(), kNamed));
  return fmt::format(
      "{}: the module was saved in training mode ({}{}); it is evaluated in evaluation mode (module.eval()). If what "
      "training mode does (batch statistics, dropout) is part of the defence, wrap it so that eval() does not switch "
      "it off, and name it by --coupling batch or --random",
      path, fmt::join(names, ", "), more);
}

void collect_nodes(torch::jit::Block* block, torch::jit::NodeKind kind, std::vector<torch::jit::Node*>& nodes) {
  for (auto* node : block->nodes()) {
    if (node->kind() == kind) nodes.push_back(node);
    for (auto* inner : node->blocks()) collect_nodes(inner, kind, nodes);
  }
}

}  // namespace

ScriptModule read_script(const std::string& path, const std::string& caller) {
  const FileSource readable(path);  // says what is wrong with it where it is none
  try {
    auto module = torch::jit::load(path, at::kCPU);
    auto note = note_of(path, modules_that_train(module));
    module.eval();
    return {std::move(module), std::move(note)};
  } catch (const c10::Error& error) {
    fail("{}: {} is no readable TorchScript archive: {}", caller, path, error.what_without_backtrace());
  }
}

std::string script_reason(const std::exception& error) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&error);
  std::string text = from_torch ? from_torch->what_without_backtrace() : error.what();
  if (const auto at = text.rfind("Error: "); at != std::string::npos) text.erase(0, at + 7);
  return text.substr(0, text.find('\n'));
}

std::vector<torch::jit::Node*> nodes_of(torch::jit::Graph& graph, torch::jit::NodeKind kind) {
  std::vector<torch::jit::Node*> nodes;
  collect_nodes(graph.block(), kind, nodes);
  return nodes;
}

std::vector<std::string> path_of(const torch::jit::Value* value) {
  std::vector<std::string> path;
  for (; value->node()->kind() == c10::prim::GetAttr; value = value->node()->input(0))
    path.insert(path.begin(), value->node()->s(c10::attr::name));
  return path;
}

}  // namespace hpm
