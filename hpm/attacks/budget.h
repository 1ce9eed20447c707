// defines: AttackBudget
#pragma once
#include <cstdint>

#include "hpm/models/classifier.h"

namespace hpm {

/// What an attack takes for an image that survives it, at most. The driver's pass over the originals and the verdict on
/// what the attack returns are not counted.
struct AttackBudget {
  Passes passes;      ///< image passes of the model
  int64_t ticks = 0;  ///< calls of Monitor::tick(), for progress; fewer where runs are made at once
};

}  // namespace hpm
