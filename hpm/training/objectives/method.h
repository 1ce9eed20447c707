// defines: TrainingMethod, MethodOptions, LossInput, MethodRow, training_methods(), make_method(), cross_entropy()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/training/adversary.h"

namespace hpm {

/// Which method of adversarial training, and its parameters.
struct MethodOptions {
  std::string objective = "pgd";  ///< a name of training_methods()
  double label_smoothing = 0;     ///< share of the label that is spread over all classes, in every cross-entropy
  double beta = 6;                ///< trades, mart: weight of the consistency term
  double noise = 2;               ///< n-fgsm: radius of the random start, in eps
  double grad_align = .2;         ///< fgsm-rs: weight of GradAlign; 0: none
};
void fields(Fields& f, MethodOptions& o);

/// What a method's loss is computed from.
struct LossInput {
  Tensor clean;        ///< logits of the clean images [N,K]; undefined unless the method needs them
  Tensor adversarial;  ///< logits of the adversarial images [N,K]
  const TrainingBatch& batch;
};

/// A method of adversarial training: the images that a classifier is trained on, and the loss of its logits there.
class TrainingMethod {
 public:
  virtual ~TrainingMethod() = default;
  /// Whether the loss needs the clean images' logits, a further pass.
  virtual bool needs_clean() const { return false; }
  /// The adversarial images. The random start depends on (seed, image, epoch) alone.
  virtual Tensor search(const Victim& victim, const TrainingBatch& batch, const AdversaryOptions& options,
                        const RandomStreams& streams) const = 0;
  /// The loss, a scalar.
  virtual Tensor loss(const LossInput& input) const = 0;
  /// A term that needs passes of its own (TrainingPasses, in float32); undefined where there is none.
  virtual Tensor regulariser(Classifier&, const TrainingBatch&, const AdversaryOptions&, const RandomStreams&) const {
    return {};
  }
};

/// Cross-entropy with the labels, or with the label shares of mixed images; `smoothing` of it towards uniform.
Tensor cross_entropy(const Tensor& logits, const TrainingBatch& batch, double smoothing);

struct MethodRow {
  std::string name, summary;
  std::vector<std::string> reads;  ///< options that only some methods read
  bool one_step;                   ///< its adversary takes one step: such training can overfit catastrophically
  std::unique_ptr<TrainingMethod> (*make)(const MethodOptions& options);
};

/// The table of methods. A new one is one file pair and one row.
const std::vector<MethodRow>& training_methods();

/// Throws UsageError for an unknown name.
const MethodRow& find_method(const std::string& name);
std::unique_ptr<TrainingMethod> make_method(const MethodOptions& options);

}  // namespace hpm
