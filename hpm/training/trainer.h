// defines: TrainOptions, train()
#pragma once
#include <functional>
#include <string>

#include "hpm/core/progress.h"
#include "hpm/data/augment.h"
#include "hpm/data/dataset.h"
#include "hpm/training/objective.h"
#include "hpm/training/optimizer.h"

namespace hpm {

/// The loop around an objective.
struct TrainOptions {
  int64_t epochs = 2;
  int64_t batch = 128;  ///< images a step
  int64_t images = 0;   ///< use the first so many training images; 0: all
  uint64_t seed = 0;
  AugmentOptions augment;
  OptimizerOptions optimizer;
  std::string state_file;   ///< written after each epoch, complete or not at all; "" = none
  bool resume = false;      ///< go on from state_file where it exists
  std::string fingerprint;  ///< of everything that decides the result; a state of another one is refused
};

/// The outcome of an epoch.
struct EpochReport {
  int64_t epoch = 0;
  double loss = 0, adversarial_accuracy = 0, seconds = 0;  ///< accuracy in percent, of the training batches as seen
};

/// Trains `objective`. Order, augmentation and adversaries depend on (seed, image, epoch) alone, so a run that is
/// interrupted and resumed ends with the same bits, on one thread.
void train(Objective& objective, const Dataset& data, const TrainOptions& options, Monitor& monitor = silent(),
           const std::function<void(const EpochReport&)>& after_epoch = nullptr);

}  // namespace hpm
