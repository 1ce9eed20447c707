// defines: region_objective()
#pragma once
#include "hpm/surrogates/hpm_surrogates.h"

namespace hpm {

/// The exact piecewise form of the hard prediction: stay in, or enter, the FC region of class c = loss.targets, and win
/// the HPM margin that holds there,
///     -relu(k - (o_c - max_{j!=c} o_j) / sd_o) - relu(k - (max_{j!=y} L_j - L_y) / sd_L),   k = .02,
/// L = HPM logits with A = onehot(c), sd over the clean logits. [N], at most 0; 0 when both are won by k.
Tensor region_objective(const HpmSurrogateInput& input, const Loss& loss);

}  // namespace hpm
