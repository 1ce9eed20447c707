// defines: bit_depth(), block_rounding(), thermometer()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Pixels rounded to three levels.
GauntletEntry bit_depth();
/// The coefficients of each 4x4 block's cosine transform rounded, as JPEG does.
GauntletEntry block_rounding();
/// Each pixel as a code of thresholds, added up again.
GauntletEntry thermometer();

}  // namespace hpm::gauntlet
