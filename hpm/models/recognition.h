// defines: recognise(), misfits()
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "hpm/io/tensors.h"

namespace hpm {

/// The architecture that keys and shapes fit: a name of the registry or a LAYERS string. What they cannot tell is
/// assumed and said in `notes`. Throws Error that lists the keys when none fits.
std::string recognise(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                      std::vector<std::string>& notes);

/// What keeps `tensors` from being the state of a network: one line for each missing, misshapen and unexpected key;
/// empty when all fit. num_batches_tracked may be absent or left over: evaluation does not read it, and older PyTorch
/// did not save it.
std::vector<std::string> misfits(const NamedTensors& state, const NamedTensors& tensors);

}  // namespace hpm
