// defines: winners_take_all(), sparse_features()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// k-winners-take-all: beside the features, the FC layer sees which functions of them win.
GauntletEntry winners_take_all();
/// Features near their mean are set to it (MeanSparse).
GauntletEntry sparse_features();

}  // namespace hpm::gauntlet
