// defines: HeadAccuracy, head_accuracy(), fit_images_needed()
#pragma once
#include <string>

#include "hpm/training/finetune.h"

namespace hpm {

/// How many clean images a head has right, and the FC layer on the same features.
struct HeadAccuracy {
  double head = 0, fc = 0;  ///< percent
  int64_t images = 0;
  bool unseen = true;        ///< the fit has not seen them
  std::string text() const;  ///< "clean accuracy 58.1 % (FC 62.6 %) on 1000 training images that the fit did not see"
};

/// Of up to 1000 of the training images beside those that attach_head() and calibrate() read; of theirs where there are
/// no others. The reference context where the head is calibrated, else its stable prototypes alone.
HeadAccuracy head_accuracy(const HpmModel& model, const Dataset& data, const FinetuneOptions& options);

/// The fewest images that fit a learned metric [R,D] well: 300 a class, and 6 D; fewer cost more than some 2.5 points
/// of clean accuracy (measured: docs/training.md). 0 for a head without one, whose class means need few.
int64_t fit_images_needed(const HpmHead& head);

}  // namespace hpm
