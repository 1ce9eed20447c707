// defines: counter_perturbation()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Before it predicts, the defence moves the image towards the class that it already predicts (an optimiser inside).
GauntletEntry counter_perturbation();

}  // namespace hpm::gauntlet
