// defines: AdversarialTraining
#pragma once
#include "hpm/training/objective.h"
#include "hpm/training/objectives/method.h"

namespace hpm {

/// Adversarial training of the FC classifier by one of the methods of training_methods(). Also the matched control of
/// HPM fine-tuning: same images, epochs, adversary strength and method, FC loss alone.
class AdversarialTraining : public Objective {
 public:
  AdversarialTraining(HpmModel model, AdversaryOptions adversary, uint64_t seed, const MethodOptions& method = {});
  Tensor adversarial(const TrainingBatch& batch) override;
  StepReport loss(const TrainingBatch& batch, const Tensor& x) override;
  std::vector<Tensor> parameters() override { return model_.classifier.parameters(); }
  HpmModel& model() override { return model_; }
  bool moves_statistics() const override { return adversary_.batch_norm == "batch"; }
  std::vector<std::unique_ptr<AttackModel>> attacked() override;

 private:
  HpmModel model_;
  AdversaryOptions adversary_;
  RandomStreams streams_;
  std::unique_ptr<TrainingMethod> method_;
};

}  // namespace hpm
