// defines: CallableNetwork, LastLayer, call_on_images()
#pragma once
#include "hpm/models/network.h"
#include "python_object.h"

namespace hpm::python {

/// The last linear layer of a model: W [K,D], b [K] (may be undefined), on the memory of Python's tensors.
struct LastLayer {
  std::string name;
  Tensor weight, bias;
};

/// A Python callable as a network: images [N,C,H,W] in [0,1] -> logits [N,K], or (features [N,D], logits) where a last
/// layer is given. It is called with the GIL; backward passes take the GIL only where Python code is part of them.
/// The parameters are Python's own tensors: whoever makes this object restores their requires_grad afterwards.
class CallableNetwork : public Network {
 public:
  CallableNetwork(py::object call, int64_t classes, const std::vector<Tensor>& parameters,
                  const std::optional<LastLayer>& last);
  Tensor features(const Tensor& x) override { return run(x).features; }
  NetworkOutput run(const Tensor& x) override;
  std::shared_ptr<Network> fresh() const override;
  torch::nn::Linear head() override { return head_; }
  void train(bool) override {}

 private:
  SharedObject call_;
  int64_t classes_;
  torch::nn::Linear head_{nullptr};
  std::shared_ptr<py::error_already_set> interrupt_;
};

/// Calls a Python function with images, or with further tensors, and takes logits [N,K] as float32 from its answer.
/// `what`: its name in messages. Throws TypeError for an answer that is no tensor, ValueError for another shape. Needs
/// the GIL.
Tensor call_for_logits(const py::object& call, const std::vector<Tensor>& arguments, int64_t classes,
                       const std::string& what);

}  // namespace hpm::python
