// defines: surer_of_two()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Two models whose weaknesses oppose each other; each batch is answered by the one that is surer of it, so that what
/// breaks one of them makes the defence take the other.
GauntletEntry surer_of_two();

}  // namespace hpm::gauntlet
