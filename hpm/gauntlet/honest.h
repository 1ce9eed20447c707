// defines: adversarially_trained(), least_squares()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// The base as it is.
GauntletEntry adversarially_trained();
/// A linear classifier by least squares on the training images, undefended.
GauntletEntry least_squares();

}  // namespace hpm::gauntlet
