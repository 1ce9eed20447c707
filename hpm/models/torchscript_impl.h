// defines: ScriptNetwork
#pragma once
#include <torch/csrc/jit/api/module.h>

#include "hpm/models/network.h"

namespace hpm {

/// A script module as a Network. Its parameters and buffers are registered under their own names, so that devices,
/// types, gradients and checkpoints follow; the memory is the module's. It stays in evaluation mode.
class ScriptNetwork : public Network {
 public:
  /// `head`: the name of the submodule that is the last linear layer, with weight [K,D] and perhaps bias [K]; "" for
  /// none. `note`: what evaluation mode switched off in it (ScriptModule).
  ScriptNetwork(torch::jit::Module module, std::string head, std::string note = {});
  Tensor features(const Tensor& x) override { return run(x).features; }
  NetworkOutput run(const Tensor& x) override;
  std::shared_ptr<Network> fresh() const override;
  torch::nn::Linear head() override { return head_; }
  void train(bool) override {}
  const torch::jit::Module& module() const { return module_; }
  const std::string& note() const { return note_; }

 private:
  void adopt(torch::nn::Module& into, torch::jit::Module& from, const std::string& path);

  torch::jit::Module module_;
  std::string head_name_, note_;
  torch::nn::Linear head_{nullptr};
  std::vector<Tensor> seen_;  // by adopt(), which registers a shared parameter once
};

/// The script module behind a classifier that came from a TorchScript file; none for others.
const ScriptNetwork* script_network(const std::shared_ptr<Network>& network);

}  // namespace hpm
