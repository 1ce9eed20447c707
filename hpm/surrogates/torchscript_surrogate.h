// defines: torchscript_surrogate()
#pragma once
#include <string>

#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// A surrogate of one's own from a file of torch.jit.save. Its forward is either of two:
///   images [N,C,H,W] in [0,1] -> logits [N,K], or a pair whose second is that: any model;
///   images, penultimate features [N,D] and FC logits [N,K] of the attacked model -> logits [N,K], with a gradient in
///   any of the three.
/// Its name is the file's without the ending. A TorchScript file is a program that loading runs: `allow` says that it
/// is trusted. Throws UsageError where it is not, Error for a file that cannot be read or gives something else.
Surrogate torchscript_surrogate(const std::string& path, bool allow);

}  // namespace hpm
