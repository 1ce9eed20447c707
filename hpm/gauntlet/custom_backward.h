// defines: custom_backward()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// The network as it is, whose backward pass is that of the network on the image shifted by half its size. (On the
/// mirrored one would not do: clothes are symmetric, and its gradient breaks them as well.)
GauntletEntry custom_backward();

}  // namespace hpm::gauntlet
