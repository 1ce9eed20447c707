// Plain stacks from the keys of a Sequential.
#pragma once
#include <string>
#include <vector>

#include "hpm/io/tensors.h"

namespace hpm {

/// The LAYERS string of a Sequential of convolutions, batch norms and linear layers; "" where the keys are no such
/// stack's. Weights tell neither strides and paddings nor the layers without weights: between two layers with weights,
/// one position is a ReLU and a second one a max pooling of 2; the geometries are usual ones whose maps fit the first
/// linear layer, alike for all convolutions if possible. What was chosen, and of how many, goes into `notes`.
std::string recognise_stack(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                            std::vector<std::string>& notes);

/// The rows of the last matrix: the number of classes; 0 where there is none.
int64_t classes_of(const NamedTensors& tensors);

}  // namespace hpm
