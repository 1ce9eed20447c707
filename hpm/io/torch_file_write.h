// defines: write_state_dict()
#pragma once
#include <map>
#include <string>

#include "hpm/io/tensors.h"

namespace hpm {

/// Writes tensors (of any device, strided or not) as a state_dict that torch.load(weights_only=True) reads: PyTorch's
/// zip container with one OrderedDict of contiguous tensors, in the given order. `texts` are further entries of the
/// dict, after the tensors. The file is complete or not there. Throws Error for a name twice or one that is not UTF-8,
/// and for types that files do not hold.
void write_state_dict(const std::string& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& texts = {});

}  // namespace hpm
