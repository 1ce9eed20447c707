// defines: batch_statistics(), adapting_means()
#pragma once
#include "hpm/gauntlet/gauntlet.h"

namespace hpm::gauntlet {

/// Features normalised by the batch's own mean and spread (batch norm in training mode).
GauntletEntry batch_statistics();
/// Class means of the batch join the logits: a test-time adaptation.
GauntletEntry adapting_means();

}  // namespace hpm::gauntlet
