// defines: hpm_alone(), hpm_reference()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Hybrid Prototype Mixing in the context alone at lambda = .5: through its straight-through gradient it looks robust.
GauntletEntry hpm_alone();
/// The same head in the context reference, an ordinary linear layer: honest.
GauntletEntry hpm_reference();

}  // namespace hpm::gauntlet
