// defines: ValidationOptions, Validation, HeldOut, validate(), Overfitting, catastrophic_overfitting()
#pragma once
#include <optional>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/data/dataset.h"
#include "hpm/training/objective.h"

namespace hpm {

/// Robust accuracy on training images that training does not read.
struct ValidationOptions {
  int64_t images = 0;    ///< held out; 0: no validation, the last weights are the result
  int64_t every = 1;     ///< epochs
  int64_t steps = 20;    ///< of PGD, each eps / 4
  int64_t batch = 256;   ///< images a pass; no result depends on it
  int64_t patience = 0;  ///< stop after so many validations in a row that are no better; 0: never
};
void fields(Fields& f, ValidationOptions& o);

/// Accuracies in percent.
struct Validation {
  double clean = 0, fgsm = 0, pgd = 0;
  int64_t images = 0;
};

/// What validation looks at beside the accuracies, for those who draw it: its first images.
struct HeldOut {
  Tensor x, adversarial;                      ///< [M,C,H,W]: clean, and the last iterates of PGD
  Tensor clean_margins, adversarial_margins;  ///< [M]: the label's logit minus the largest other one
};

/// Accuracy of the objective's model as it is on clean, FGSM and PGD images of the held-out numbers. An image counts as
/// robust where it withstands each of objective.attacked().
Validation validate(Objective& objective, const Dataset& data, const Tensor& held_out, const ThreatModel& threat,
                    const ValidationOptions& options, uint64_t seed, HeldOut* seen = nullptr);

/// How catastrophic overfitting (Wong et al., arXiv:2001.03994) shows: attacks of one step meet a robust network, PGD
/// does not. Each sign needs a difference of three standard errors of the held-out images.
enum class Overfitting {
  none,
  fall,      ///< since the best validation PGD accuracy fell by more than five points, and FGSM accuracy rose
  fgsm,      ///< FGSM leaves over two thirds of the clean accuracy, and PGD less than a quarter of what FGSM leaves
  training,  ///< PGD leaves less than a tenth of the accuracy on training's own adversarial images, which is over 20 %
};

/// The first of these signs. `best` before this validation; accuracy on training's adversarial images in percent.
Overfitting catastrophic_overfitting(const std::optional<Validation>& best, const Validation& now,
                                     double training_accuracy);

}  // namespace hpm
