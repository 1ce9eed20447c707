// defines: HpmFineTuning, HpmTrainingOptions
#pragma once
#include "hpm/training/objective.h"
#include "hpm/training/objectives/method.h"

namespace hpm {

struct HpmTrainingOptions {
  ContextKind context = ContextKind::solo;  ///< solo: the batch's clean neighbours; joint, alone
  std::string adversary = "hard";           ///< the surrogate that training's adversary climbs: hard, ste or fc
  double fc_weight = .5;                    ///< weight of the FC logits' loss beside CE(HPM)
};

/// HPM fine-tuning, end to end: CE(HPM) + fc_weight L(FC) on adversarial images, L the loss of a method (PGD-AT: the
/// cross-entropy); backbone, FC layer, metric and tau learn, the means follow by EMA over clean and adversarial
/// features. A method's further term (GradAlign) is that of the FC classifier, with the weight that the control gives
/// it. With adversary `fc` the images are the method's own; against a surrogate they climb its cross-entropy.
class HpmFineTuning : public Objective {
 public:
  HpmFineTuning(HpmModel model, HpmTrainingOptions options, AdversaryOptions adversary, uint64_t seed,
                const MethodOptions& method = {});
  Tensor adversarial(const TrainingBatch& batch) override;
  StepReport loss(const TrainingBatch& batch, const Tensor& x) override;
  std::vector<Tensor> parameters() override;
  void after_step() override;
  HpmModel& model() override { return model_; }
  bool moves_statistics() const override { return adversary_.batch_norm == "batch"; }
  /// In the context alone, on the surrogates `hard` and `fc`: a single one flatters HPM.
  std::vector<std::unique_ptr<AttackModel>> attacked() override;

 private:
  Tensor logits(const Tensor& h, const Assigned& assigned) const;

  HpmModel model_;
  HpmTrainingOptions options_;
  AdversaryOptions adversary_;
  RandomStreams streams_;
  std::unique_ptr<TrainingMethod> method_;
  double smoothing_;
  Output clean_;            // of the batch that adversarial() saw, at the weights of then
  Tensor seen_z_, seen_y_;  // of the last batch, for the EMA; undefined between adversarial() and loss()
};

}  // namespace hpm
