// defines: print_cost()
#pragma once
#include "command_line.h"
#include "hpm/attacks/attack_model.h"

namespace hpm::app {

/// What --dry-run prints: passes an image (at most), and the seconds that all of them take here, from timed passes of
/// `sample`. `radii`: how often the passes are made for each of the `images`.
void print_cost(const CommandLine& line, const Classifier& classifier, const Images& sample, const Passes& passes,
                int64_t images, int64_t radii);

}  // namespace hpm::app
