// defines: Cost, cost_of()
#pragma once
#include "command_line.h"
#include "hpm/attacks/attack_model.h"

namespace hpm::app {

/// What a run takes at most.
struct Cost {
  Passes passes;                     ///< an image
  int64_t images = 0;                ///< that get them
  int64_t radii = 1;                 ///< how often
  double seconds = 0;                ///< of all passes, by one process of this machine
  std::optional<Passes> usual = {};  ///< what an image that survives usually takes, where that is known
  double usual_seconds = 0;
  int64_t workers = 1;                        ///< processes that share them
  std::string text() const;                   ///< a line for the user
  void print(const CommandLine& line) const;  ///< what --dry-run prints
};

/// From timed passes of `sample`.
Cost cost_of(const Classifier& classifier, const Images& sample, const Passes& passes, int64_t images,
             int64_t radii = 1, const std::optional<Passes>& usual = {});

}  // namespace hpm::app
