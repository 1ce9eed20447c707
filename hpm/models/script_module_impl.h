// defines: ScriptModule, read_script(), script_reason(), nodes_of(), path_of()
#pragma once
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <string>
#include <vector>

namespace hpm {

/// A TorchScript file, on the CPU and in evaluation mode.
struct ScriptModule {
  torch::jit::Module module;
  /// What a reader of the results must know: code of the module asks whether it is in training mode, and the file says
  /// that it is. "" where evaluation mode changes nothing.
  std::string note = {};
};

/// `caller`: whom a message names. Throws Error for a file that is no readable archive.
ScriptModule read_script(const std::string& path, const std::string& caller);

/// What went wrong in a script, in a line: the interpreter's message has it at its end, after the traceback.
std::string script_reason(const std::exception& error);

/// The nodes of a kind in a graph and the blocks within it.
std::vector<torch::jit::Node*> nodes_of(torch::jit::Graph& graph, torch::jit::NodeKind kind);

/// The names that lead from the module that a graph belongs to, to the module that `value` is.
std::vector<std::string> path_of(const torch::jit::Value* value);

}  // namespace hpm
