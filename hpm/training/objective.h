// defines: Objective, TrainingBatch, AdversaryOptions, AdversarialTraining, HpmFineTuning, HpmTrainingOptions
#pragma once
#include <string>
#include <vector>

#include "hpm/attacks/pgd.h"
#include "hpm/prototypes/model.h"

namespace hpm {

struct TrainingBatch {
  Tensor x;       ///< [N,C,H,W] in [0,1], augmented
  Tensor y;       ///< [N]
  Tensor index;   ///< [N] int64 (CPU): numbers in the training set
  int64_t epoch;  ///< chooses the adversary's random start
};

/// What an objective gives for a batch.
struct StepReport {
  Tensor loss;  ///< scalar, to be differentiated
  Tensor correct_adversarial;
};

/// The adversary of training: PGD on a random start.
struct AdversaryOptions {
  ThreatModel threat;
  int64_t steps = 4;                     ///< gradient steps
  std::optional<double> step_size = {};  ///< none: eps / 2
  std::string batch_norm = "running";    ///< running (frozen) or batch (statistics of each batch, updated)
  double step() const { return step_size.value_or(threat.eps / 2); }
};

/// A training objective. A new one is one file pair, and a line where the program chooses it.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual StepReport loss(const TrainingBatch& batch) = 0;
  virtual std::vector<Tensor> parameters() = 0;
  virtual void after_step() {}
  virtual HpmModel& model() = 0;
};

/// Adversarial training of the FC classifier (Madry et al., arXiv:1706.06083): cross-entropy on PGD images. Also the
/// matched control of HPM fine-tuning: same images, epochs and adversary strength, FC loss alone.
class AdversarialTraining : public Objective {
 public:
  AdversarialTraining(HpmModel model, AdversaryOptions adversary, uint64_t seed);
  StepReport loss(const TrainingBatch& batch) override;
  std::vector<Tensor> parameters() override { return model_.classifier.parameters(); }
  HpmModel& model() override { return model_; }

 private:
  HpmModel model_;
  AdversaryOptions adversary_;
  RandomStreams streams_;
};

struct HpmTrainingOptions {
  ContextKind context = ContextKind::solo;  ///< solo: the batch's clean neighbours; joint, alone
  std::string adversary = "hard";           ///< the surrogate PGD climbs: hard, ste or fc
  double fc_weight = .5;                    ///< weight of CE(FC) beside CE(HPM)
};

/// HPM fine-tuning, end to end: CE(HPM) + fc_weight CE(FC) on PGD images; backbone, FC layer, metric and tau learn, the
/// means follow by EMA over clean and adversarial features.
class HpmFineTuning : public Objective {
 public:
  HpmFineTuning(HpmModel model, HpmTrainingOptions options, AdversaryOptions adversary, uint64_t seed);
  StepReport loss(const TrainingBatch& batch) override;
  std::vector<Tensor> parameters() override;
  void after_step() override;
  HpmModel& model() override { return model_; }

 private:
  Tensor adversarial_images(const TrainingBatch& batch, const Output& clean);
  Tensor logits(const Tensor& h, const Assigned& assigned, const Output& clean) const;

  HpmModel model_;
  HpmTrainingOptions options_;
  AdversaryOptions adversary_;
  RandomStreams streams_;
  Tensor seen_z_, seen_y_;  // of the last batch, for the EMA
};

}  // namespace hpm
