// defines: BpdaLayer, parse_bpda(), bpda_surrogate()
#pragma once
#include <string>
#include <vector>

#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// A submodule of a TorchScript model and what stands in for it in the backward pass.
struct BpdaLayer {
  std::string name;  ///< e.g. "pre" or "features.0"
  std::string twin;  ///< "identity", or a TorchScript file: a differentiable function of the submodule's input
};

/// "NAME=identity" or "NAME=FILE" -> a layer. Throws UsageError for anything else.
BpdaLayer parse_bpda(const std::string& text);

/// The surrogate `bpda`: backward pass differentiable approximation (Athalye, Carlini and Wagner, "Obfuscated gradients
/// give a false sense of security", ICML 2018, arXiv:1802.00420). Forward, the layers compute what they compute;
/// backward, each has the gradient of its twin. `model` came from a TorchScript file, and `allow` says that the twins'
/// files are trusted. Throws UsageError for a name that is no submodule with a call of its own in the model (the
/// nearest names are listed), for another kind of model, and Error for a twin that is no readable file; its logits
/// throw Error for one whose output has another shape.
Surrogate bpda_surrogate(const Classifier& model, const std::vector<BpdaLayer>& layers, bool allow);

}  // namespace hpm
