// defines: TorchScriptOptions, load_torchscript()
#pragma once
#include <string>
#include <vector>

#include "hpm/models/classifier.h"

namespace hpm {

/// A TorchScript archive is a program, and loading runs it: the caller must say that this file is trusted.
struct TorchScriptOptions {
  bool allow = false;                              ///< load whatever the file holds
  std::string sha256 = {};                         ///< or: load only a file with this digest (64 hexadecimal digits)
  std::vector<int64_t> input_shape = {3, 32, 32};  ///< {C,H,W}
  Normalisation normalisation = {};                ///< applied before the module; often the module has its own
};

/// A module saved by torch.jit.save, in evaluation mode and without parameter gradients. Its forward maps images
/// [N,C,H,W] to logits [N,K], or to a pair (features [N,D], logits [N,K]). It has no head of its own: attacks only, no
/// HPM. Throws UsageError unless the file is allowed, Error for a file with another digest or a module with another
/// form.
Classifier load_torchscript(const std::string& path, const TorchScriptOptions& options);

}  // namespace hpm
