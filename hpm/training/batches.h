// defines: ExtraImages, TrainingSplit, split_images(), TrainingBatches
#pragma once
#include <future>
#include <memory>

#include "hpm/data/augment.h"
#include "hpm/data/dataset.h"
#include "hpm/training/adversary.h"

namespace hpm {

/// Images from another place that fill a part of every batch: generated ones, or those with pseudo-labels (Rebuffi et
/// al., arXiv:2103.01946).
struct ExtraImages {
  std::shared_ptr<const Dataset> data;  ///< null: none
  double share = 0;                     ///< of a batch, over 0 and below 1
};

/// The numbers of the images that training reads, ascending, and of those that it holds out.
struct TrainingSplit {
  Tensor training, held_out;  ///< int64
};

/// The first `images` (0: all) of `size` images; `held_out` of these, drawn by the seed, are for validation alone.
/// Throws UsageError where none is left to train on.
TrainingSplit split_images(int64_t size, int64_t images, int64_t held_out, uint64_t seed);

/// Which images each step sees. Order, augmentation and extra images depend on (seed, epoch, step) alone.
class TrainingBatches {
 public:
  TrainingBatches(const Dataset& data, Tensor training, int64_t batch, const AugmentOptions& augment, ExtraImages extra,
                  int64_t classes, uint64_t seed);
  int64_t steps() const { return steps_; }  ///< of an epoch: one pass over the training images
  int64_t images_of(int64_t step) const;    ///< in a step, extra ones too
  int64_t images() const;                   ///< in an epoch, extra ones too
  /// The step's batch. For a GPU the next one is made meanwhile, on a thread of its own, and copied from pinned memory.
  TrainingBatch get(int64_t epoch, int64_t step, at::Device device);

 private:
  TrainingBatch made(int64_t epoch, int64_t step);  // on the CPU
  Tensor extra_numbers(int64_t epoch, int64_t step);

  const Dataset& data_;
  Tensor training_;
  AugmentOptions augment_;
  ExtraImages extra_;
  int64_t classes_, own_, from_extra_, steps_;
  RandomStreams streams_;
  int64_t order_epoch_ = -1, extra_pass_ = -1;
  Tensor order_, extra_order_;  // of that epoch; of that pass over the extra images
  int64_t ahead_epoch_ = -1, ahead_step_ = -1;
  std::future<TrainingBatch> ahead_;  // the last member: its thread uses the others
};

}  // namespace hpm
