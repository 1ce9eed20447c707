#include "hpm/surrogates/torchscript_surrogate.h"

#include <filesystem>

#include "hpm/core/error.h"
#include "hpm/io/sha256.h"
#include "hpm/models/script_module_impl.h"

namespace hpm {
namespace {

/// Whether forward takes images, rather than images, features and FC logits. Throws Error for anything else.
bool takes_images_alone(const torch::jit::Module& module, const std::string& path) {
  const auto& arguments = module.get_method("forward").function().getSchema().arguments();  // self is the first
  const auto needed = std::count_if(arguments.begin() + 1, arguments.end(),
                                    [](const auto& argument) { return !argument.default_value().has_value(); });
  const auto most = static_cast<int64_t>(arguments.size()) - 1;
  if (needed <= 3 && most >= 3) return false;
  if (needed > 1 || most < 1)
    fail("surrogate {}: its forward needs to take images, or images, features and FC logits, but takes {} arguments",
         path, most);
  return true;
}

/// The logits of an answer, undefined where there are none.
Tensor logits_in(const c10::IValue& out) {
  if (out.isTensor()) return out.toTensor();
  if (!out.isTuple() || out.toTupleRef().elements().size() != 2) return {};
  const auto& second = out.toTupleRef().elements()[1];
  return second.isTensor() ? second.toTensor() : Tensor();
}

}  // namespace

Surrogate torchscript_surrogate(const std::string& path, bool allow) {
  require(allow,
          "torchscript_surrogate: {} is a TorchScript file, a program that loading runs. If you trust it, give "
          "--allow-torchscript",
          path);
  auto read = read_script(path, "torchscript_surrogate");
  const auto module = std::make_shared<torch::jit::Module>(std::move(read.module));
  for (auto parameter : module->parameters()) parameter.requires_grad_(false);
  const bool images_alone = takes_images_alone(*module, path);
  const auto logits = [module, path, images_alone](const SurrogateInput& in) {
    const auto elsewhere = [&](const auto& tensors) {
      for (const Tensor& t : tensors)
        if (t.device() != in.x.device()) return true;
      return false;
    };
    if (elsewhere(module->parameters()) || elsewhere(module->buffers())) module->to(in.x.device());
    if (!images_alone && !in.z.defined())
      fail(
          "surrogate {}: its forward reads the features and FC logits of the model's pass, but a black box has no "
          "features, and a model that is random (--random) or depends on its batch (--coupling batch) has no such "
          "pass; give one that takes images alone",
          path);
    c10::IValue out;
    try {
      out = images_alone ? module->forward({in.x}) : module->forward({in.x, in.z, in.o});
    } catch (const std::exception& error) {
      fail("surrogate {}: its forward takes {}, and failed on images [{}]: {}", path,
           images_alone ? "images" : "images, features and FC logits", fmt::join(in.x.sizes(), ","),
           script_reason(error));
    }
    const auto tensor = logits_in(out);
    const auto shape = [](const Tensor& t) { return fmt::format("[{}]", fmt::join(t.sizes(), ",")); };
    const auto wanted = in.o.defined() ? shape(in.o) : fmt::format("[{},K]", in.x.size(0));
    if (!tensor.defined()) fail("surrogate {}: needs to give logits {}, but gives {}", path, wanted, out.tagKind());
    if (in.o.defined() ? tensor.sizes() != in.o.sizes() : tensor.dim() != 2 || tensor.size(0) != in.x.size(0))
      fail("surrogate {}: needs to give logits {}, but gives {}", path, wanted, shape(tensor));
    const bool asked = at::GradMode::is_enabled() && (in.x.requires_grad() || in.o.requires_grad());
    if (asked && !tensor.requires_grad())
      fail("surrogate {}: its logits have no gradient; a stand-in must be differentiable", path);
    return tensor;
  };
  return {.name = std::filesystem::path(path).stem().string(),
          .summary =
              fmt::format("from {}, SHA-256 {}", std::filesystem::path(path).filename().string(), sha256_of_file(path)),
          .logits = logits,
          .own_passes = images_alone ? 1 : 0,
          .through_network = !images_alone,
          .checked = true,
          .stand_in = true,
          .note = std::move(read.note)};
}

}  // namespace hpm
