// defines: BinarisationOptions, PlantedAttack, test_binarisation(), binarisation_check(), binarisation_passes()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"
#include "hpm/defences/defence.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {

/// The binarisation self-test (Zimmermann et al., "Increasing confidence in adversarial robustness evaluations",
/// NeurIPS 2022, arXiv:2206.13991): does the attack in use find an adversarial image that is known to be there? For
/// each image, `inner` points within .95 eps of it become class 0, and one point on the boundary of its ball, planted
/// at random (of eight the one that stands out most), class 1. A linear readout of the model's features tells them
/// apart, with its threshold just below the planted point. Within the ball there is now a point of class 1; an attack
/// that does not find one is not suited to this model, whatever robust accuracy it reports.
struct BinarisationOptions {
  int64_t inner = 255;      ///< points of class 0, the image among them
  int64_t random = 10;      ///< random points on the boundary: an image where one of them is of class 1 tells nothing
  double closeness = .999;  ///< where the threshold lies between the highest inner point (0) and the planted one (1)
  uint64_t seed = 0;
  int64_t batch_size = 256;
};

/// An attack in use: a surrogate's gradient, and what is done with it.
struct PlantedAttack {
  Surrogate surrogate;
  std::string words;  ///< "apgd-ce with 50 steps"
  std::function<AttackResult(AttackModel&, const Images&)> run;
  Passes passes = {};  ///< of an image that survives, where they are to be known before
};

std::string in_words(const std::vector<PlantedAttack>& attacks);

/// Tests the attacks, together, on one target of independent rows. The readout sees the penultimate features where the
/// defence is an ordinary network attacked by its own gradient, else its logits: what a defence does behind them, or in
/// place of a network, is then part of the test.
SelfTestOutcome test_binarisation(Defence& defence, size_t target, const AttackedImages& on,
                                  const std::vector<PlantedAttack>& attacks, const BinarisationOptions& options);

/// The outcome as a check: at most 5 % of what was planted may be missed.
CheckOutcome binarisation_check(const SelfTestOutcome& outcome);

/// Forward passes of an image, without its attacks.
int64_t binarisation_passes(const BinarisationOptions& options);

}  // namespace hpm
