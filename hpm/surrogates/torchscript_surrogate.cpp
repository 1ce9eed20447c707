#include "hpm/surrogates/torchscript_surrogate.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <filesystem>

#include "hpm/core/error.h"
#include "hpm/io/file.h"

namespace hpm {

Surrogate torchscript_surrogate(const std::string& path, bool allow) {
  require(allow,
          "torchscript_surrogate: {} is a TorchScript file, a program that loading runs. If you trust it, give "
          "--allow-torchscript",
          path);
  read_file(path);  // says what is wrong with it where it is no readable file
  auto module = std::make_shared<torch::jit::Module>();
  try {
    *module = torch::jit::load(path, at::kCPU);
  } catch (const c10::Error& error) {
    fail("torchscript_surrogate: {} is no readable TorchScript archive: {}", path, error.what_without_backtrace());
  }
  module->eval();
  for (auto parameter : module->parameters()) parameter.requires_grad_(false);
  const auto name = std::filesystem::path(path).stem().string();
  const auto logits = [module, path](const SurrogateInput& in) {
    const auto elsewhere = [&](const auto& tensors) {
      for (const Tensor& t : tensors)
        if (t.device() != in.x.device()) return true;
      return false;
    };
    if (elsewhere(module->parameters()) || elsewhere(module->buffers())) module->to(in.x.device());
    c10::IValue out;
    try {
      out = module->forward({in.x, in.z, in.o});
    } catch (const c10::Error& error) {
      fail("surrogate {}: its forward takes images, features and FC logits, and failed: {}", path,
           error.what_without_backtrace());
    }
    const auto wanted = fmt::format("[{}]", fmt::join(in.o.sizes(), ","));
    if (!out.isTensor()) fail("surrogate {}: needs to give logits {}, but gives {}", path, wanted, out.tagKind());
    auto tensor = out.toTensor();
    if (tensor.sizes() != in.o.sizes())
      fail("surrogate {}: needs to give logits {}, but gives [{}]", path, wanted, fmt::join(tensor.sizes(), ","));
    return tensor;
  };
  return {.name = name, .summary = "from " + path, .logits = logits};
}

}  // namespace hpm
