// defines: crossmax()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// An ensemble whose members vote by CrossMax: each member's logits less its largest, less each class's largest over
/// the members, then the second largest member for each class.
GauntletEntry crossmax();
/// The same members, averaged: honest.
GauntletEntry mean_ensemble();

}  // namespace hpm::gauntlet
