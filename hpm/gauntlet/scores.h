// defines: scaled_logits(), probabilities(), hard_labels(), label_only()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Logits times 10,000, as distillation makes them: the softmax is 0 or 1, and float32 has no gradient left.
GauntletEntry scaled_logits();
/// Probabilities in place of logits: a softmax on a softmax.
GauntletEntry probabilities();
/// One-hot labels alone.
GauntletEntry hard_labels();
/// One-hot labels of an undefended linear model, which nothing but its answers tells of.
GauntletEntry label_only();

}  // namespace hpm::gauntlet
