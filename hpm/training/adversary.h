// defines: TrainingBatch, AdversaryOptions, Victim, ClassifierVictim, cross_entropy_gradient(), climb(), start_near(),
// FixedWeights, AdversaryPasses, TrainingPasses
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "hpm/attacks/pgd.h"

namespace hpm {

class ScopedAutocast;

struct TrainingBatch {
  Tensor x;             ///< [N,C,H,W] in [0,1], augmented
  Tensor y;             ///< [N]; of a mixed image the label of its larger part
  Tensor index;         ///< [N] int64 (CPU): numbers in the training set
  int64_t epoch;        ///< chooses the adversary's random start
  Tensor targets = {};  ///< [N,K]: shares of the labels where images were mixed; undefined otherwise
};

/// The adversary of training, and how training's passes are computed.
struct AdversaryOptions {
  ThreatModel threat;
  int64_t steps = 4;                     ///< gradient steps; one-step objectives take one
  std::optional<double> step_size = {};  ///< none: eps / 2 (one-step objectives: their papers')
  std::string batch_norm = "running";    ///< running (frozen) or batch (statistics of each batch, updated)
  std::string precision = "float32";     ///< see AdversaryPasses and TrainingPasses
  double step() const { return step_size.value_or(threat.eps / 2); }
};

/// What an adversary climbs.
struct Victim {
  AttackModel& attacked;         ///< gives the gradient of the cross-entropy, of a surrogate where there is one
  const Classifier* classifier;  ///< the same network where it is a plain classifier, else null
};

/// A classifier as training attacks it: as ClassifierModel, but no verdict is confirmed, for nobody reads it.
class ClassifierVictim : public AttackModel {
 public:
  explicit ClassifierVictim(Classifier classifier) : classifier_(std::move(classifier)) {}
  Answer ask(const Query& query, const Loss* loss) override;
  int64_t classes() const override { return classifier_.classes(); }
  Passes passes() const override { return classifier_.passes(); }

 private:
  Classifier classifier_;
};

/// The gradient of the cross-entropy with respect to x [N,C,H,W], row by row. Mixed images follow their label shares
/// where the victim is a classifier, and the larger part's label elsewhere.
Tensor cross_entropy_gradient(const Victim& victim, const TrainingBatch& batch, const Tensor& x, int64_t draw);

/// `steps` steps along the steepest direction of `gradient(x, step)` from `start`, projected onto ball and box.
Tensor climb(Tensor start, const TrainingBatch& batch, const AdversaryOptions& options,
             const std::function<Tensor(const Tensor& x, int64_t step)>& gradient);

/// The images plus normal noise of standard deviation .001, inside the box: where TRADES and MART start.
Tensor start_near(const TrainingBatch& batch, const RandomStreams& streams);

/// For its lifetime a classifier is in evaluation mode and its parameters have no gradients: attacks take the fast
/// convolutions, and no graph of the weights is kept. What fast convolutions keep of the weights is made anew, whoever
/// moved weights or running statistics before, and however.
class FixedWeights {
 public:
  explicit FixedWeights(Classifier classifier);
  ~FixedWeights();
  FixedWeights(const FixedWeights&) = delete;
  FixedWeights& operator=(const FixedWeights&) = delete;

 private:
  Classifier classifier_;
};

/// A classifier for the adversary's passes: the same weights, evaluation mode. For its lifetime
///   float32    nothing else changes;
///   fast       the weights are fixed, so that the fast convolutions of an attack's search apply (last bits differ);
///   bfloat16   the weights are fixed and convolutions compute in bfloat16.
class AdversaryPasses {
 public:
  AdversaryPasses(const Classifier& classifier, const AdversaryOptions& options);
  AdversaryPasses(const AdversaryPasses&) = delete;
  AdversaryPasses& operator=(const AdversaryPasses&) = delete;
  const Classifier& classifier() const { return classifier_; }

 private:
  Classifier classifier_;
  std::optional<FixedWeights> fixed_;
};

/// For its lifetime, passes are those that training differentiates: batch norm as `batch_norm` says; with bfloat16,
/// convolutions in bfloat16 while weights, batch norm's statistics and optimiser stay float32. `images` gives the
/// images the memory layout that such passes are fastest in (channels last, but for float32).
class TrainingPasses {
 public:
  TrainingPasses(Classifier& classifier, const AdversaryOptions& options);
  ~TrainingPasses();
  TrainingPasses(const TrainingPasses&) = delete;
  TrainingPasses& operator=(const TrainingPasses&) = delete;
  Tensor images(const Tensor& x) const;

 private:
  Classifier& classifier_;
  bool channels_last_;
  std::unique_ptr<ScopedAutocast> autocast_;
};

}  // namespace hpm
