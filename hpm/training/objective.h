// defines: Objective, StepReport
#pragma once
#include <memory>
#include <vector>

#include "hpm/prototypes/model.h"
#include "hpm/training/adversary.h"

namespace hpm {

/// What an objective gives for a batch.
struct StepReport {
  Tensor loss;                 ///< scalar, to be differentiated
  Tensor correct_adversarial;  ///< how many images are right, at the weights as they are
  Tensor loss_here = {};       ///< the loss at the weights as they are, where `loss` is taken at others
};

/// What a step of training minimises, in two parts: the adversarial images, found at the weights as they are, and the
/// loss there, which may be taken at other weights (WeightPerturbation).
class Objective {
 public:
  virtual ~Objective() = default;
  /// The adversarial images [N,C,H,W] of a batch.
  virtual Tensor adversarial(const TrainingBatch& batch) = 0;
  /// The loss at a batch and its adversarial images; adversarial() was called on the same batch before.
  virtual StepReport loss(const TrainingBatch& batch, const Tensor& x) = 0;
  virtual std::vector<Tensor> parameters() = 0;
  /// Gradients are there, the optimiser has not moved yet.
  virtual void after_backward() {}
  /// The optimiser has moved the parameters.
  virtual void after_step() {}
  virtual HpmModel& model() = 0;
  /// Whether loss() takes batch norm's statistics of each batch and updates the running ones; else these are frozen.
  virtual bool moves_statistics() const = 0;
  /// The objective whose loss is taken at the weights as they are.
  virtual Objective& unperturbed() { return *this; }
  /// Models whose attacks measure robustness on held-out images: an image is robust where it withstands all of them.
  virtual std::vector<std::unique_ptr<AttackModel>> attacked() = 0;
};

}  // namespace hpm
