// Plain stacks from the keys of a Sequential.
#pragma once
#include <string>
#include <vector>

#include "hpm/io/tensors.h"

namespace hpm {

/// The LAYERS string of a Sequential of convolutions, batch norms and linear layers; "" for other keys.
///
/// Weights do not tell strides and paddings, nor the layers without weights. These are assumed: of the positions
/// between two layers with weights, one is a ReLU and a second one a max pooling of 2. Strides and paddings are usual
/// ones whose maps fit the first linear layer, the same for all convolutions if possible. `notes` says what was chosen,
/// and among how many possibilities.
std::string recognise_stack(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                            std::vector<std::string>& notes);

/// The number of rows of the last matrix, which is the number of classes; 0 without a matrix.
int64_t classes_of(const NamedTensors& tensors);

}  // namespace hpm
