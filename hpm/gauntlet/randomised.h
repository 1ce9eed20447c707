// defines: resize_and_pad(), activation_pruning()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// The image scaled to a random size, at a random place.
GauntletEntry resize_and_pad();
/// Penultimate features dropped at random, small ones more often, the others scaled up.
GauntletEntry activation_pruning();

}  // namespace hpm::gauntlet
