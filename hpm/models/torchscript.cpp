#include "hpm/models/torchscript.h"

#include <torch/script.h>
#include <torch/torch.h>

#include "hpm/core/error.h"
#include "hpm/io/sha256.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

class TorchScriptNetwork : public Network {
 public:
  explicit TorchScriptNetwork(torch::jit::Module module) : module_(std::move(module)) {
    // Registered, so that devices, types and gradients follow. A parameter's key has dots, which Module refuses.
    for (const auto& p : module_.named_parameters())
      register_parameter(key_of(p.name), p.value, p.value.requires_grad());
    for (const auto& b : module_.named_buffers()) register_buffer(key_of(b.name), b.value);
  }
  Tensor features(const Tensor& x) override { return run(x).features; }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<TorchScriptNetwork>(module_.clone()); }
  torch::nn::Linear head() override { return nullptr; }
  NetworkOutput run(const Tensor& x) override {
    const auto out = module_.forward({x});
    if (out.isTensor()) return {{}, out.toTensor()};
    if (!out.isTuple() || out.toTupleRef().elements().size() != 2)
      fail("load_torchscript: the module needs to give logits or a pair (features, logits)");
    const auto& pair = out.toTupleRef().elements();
    return {pair[0].toTensor(), pair[1].toTensor()};
  }
  void train(bool on = true) override {
    torch::nn::Module::train(on);
    module_.train(on);
  }

 private:
  static std::string key_of(std::string name) {
    std::replace(name.begin(), name.end(), '.', '/');
    return name;
  }
  torch::jit::Module module_;
};

void check_trust(const std::string& path, const TorchScriptOptions& options) {
  require(options.allow || !options.sha256.empty(),
          "load_torchscript: {} is a program that loading runs; give its SHA-256, or allow it, if you trust it", path);
  if (options.sha256.empty()) return;
  const auto found = sha256_of_file(path);
  if (found != options.sha256)
    fail("load_torchscript: {} has SHA-256 {}, but {} was asked for", path, found, options.sha256);
}

}  // namespace

Classifier load_torchscript(const std::string& path, const TorchScriptOptions& options) {
  check_trust(path, options);
  torch::jit::Module module;
  try {
    module = torch::jit::load(path, at::kCPU);
  } catch (const c10::Error& error) {
    fail("load_torchscript: {} is no readable TorchScript archive: {}", path, error.what_without_backtrace());
  }
  module.eval();
  auto network = std::make_shared<TorchScriptNetwork>(std::move(module));
  ClassifierInfo info{"torchscript", 0, options.input_shape, options.normalisation, path, sha256_of_file(path)};
  Classifier model(network, info);
  std::vector<int64_t> shape{2};
  shape.insert(shape.end(), options.input_shape.begin(), options.input_shape.end());
  torch::NoGradGuard guard;
  // A trial pass tells the number of classes; a random model takes its numbers from the global generator, put back
  // after.
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const auto before = generator.get_state();
  const auto logits = model.logits(at::full(shape, .5));
  generator.set_state(before);
  if (logits.dim() != 2 || logits.size(0) != 2)
    fail("load_torchscript: {} needs to give logits [N,K], but gives [{}] for 2 images", path,
         fmt::join(logits.sizes(), ","));
  model.info().classes = logits.size(1);
  model.reset_passes();
  return model;
}

}  // namespace hpm
