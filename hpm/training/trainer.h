// defines: TrainOptions, train(), check_training()
#pragma once
#include <functional>
#include <string>

#include "hpm/core/progress.h"
#include "hpm/data/augment.h"
#include "hpm/data/dataset.h"
#include "hpm/training/batches.h"
#include "hpm/training/objective.h"
#include "hpm/training/optimizer.h"
#include "hpm/training/training_state.h"
#include "hpm/training/weight_average.h"

namespace hpm {

/// The loop around an objective.
struct TrainOptions {
  int64_t epochs = 2;
  int64_t batch = 128;  ///< images a step
  int64_t images = 0;   ///< use the first so many training images; 0: all
  uint64_t seed = 0;
  AugmentOptions augment = {};
  OptimizerOptions optimizer = {};
  ExtraImages extra = {};
  AverageOptions average = {};
  ValidationOptions validation = {};
  ThreatModel threat = {};      ///< of validation
  std::string state_file = {};  ///< "" = none; see save_training_state()
  SaveEvery save_every = {};
  bool resume = false;  ///< go on from the state where there is one
  /// Everything that decides the result and is not in the model: a state of other settings is refused.
  Settings settings = {};
  /// Called where a validation is the best so far, with the model as it was validated.
  std::function<void(const HpmModel&, const EpochReport&)> on_best = nullptr;
  /// Called after each validation with what it looked at.
  std::function<void(const HeldOut&, const EpochReport&)> on_validation = nullptr;
};

/// Trains `objective`. Afterwards its model holds the weights of the best validation; without validation the average
/// where one is kept, else the last weights. Order, augmentation and adversaries depend on (seed, image, epoch) alone,
/// so a run that is interrupted, within an epoch or between two, and resumed ends with the same bits, on one thread.
///
/// `after_epoch` is called for each epoch, also for those of a resumed run's past (EpochReport::restored).
/// Throws Error where the loss is not finite; the last good state stays on the disk and is named.
void train(Objective& objective, const Dataset& data, const TrainOptions& options, Monitor& monitor = silent(),
           const std::function<void(const EpochReport&)>& after_epoch = nullptr);

/// Throws UsageError where train() would refuse a network of `classes` classes, data and options: before a run
/// directory is opened, whose old model would be gone by then.
void check_training(const Dataset& data, int64_t classes, const TrainOptions& options);

}  // namespace hpm
