// defines: custom_backward()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// The network as it is, whose backward pass is that of the network on the mirrored image.
GauntletEntry custom_backward();

}  // namespace hpm::gauntlet
