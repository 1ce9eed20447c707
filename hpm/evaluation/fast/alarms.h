// defines: zero_gradient_alarm(), still_loss_alarm(), random_alarm(), coupled_alarm(), probabilities_alarm(),
//          steps_alarm(), stand_in_alarm(), beyond_alarm()
#pragma once
#include "hpm/evaluation/evaluation.h"

namespace hpm {

// Each alarm is one sign that attacks by gradient may not tell the truth: its value, the limit above which it fires,
// and what was seen. docs/fast.md explains them. `images` are a sample of correctly classified images.

/// Gradients that are exactly zero at a random start, in the cross-entropy or the difference of logits ratio.
AlarmResult zero_gradient_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                                const RandomStreams& streams);

/// A step of eps / 4 up the gradient of z_t - z_y, from a random start, that does not raise it.
AlarmResult still_loss_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                             const RandomStreams& streams);

/// Logits that differ when the same query is asked again.
AlarmResult random_alarm(AttackModel& model, const Images& images);

/// Logits that differ when half of the rows are asked alone.
AlarmResult coupled_alarm(AttackModel& model, const Images& images);

/// clean logits [n,K] that look like probabilities.
AlarmResult probabilities_alarm(const Tensor& clean_logits);

/// PGD with 10 steps that leaves many more of `images` than PGD with 50.
AlarmResult steps_alarm(int64_t left_by_10, int64_t left_by_50, int64_t images);

/// The gradients are those of a stand-in for the prediction; `surrogate`: its name, or empty.
AlarmResult stand_in_alarm(const std::string& surrogate);

/// An attack of another kind that breaks survivors of the core. `missing`: why it was not run, or empty.
AlarmResult beyond_alarm(const std::string& name, const StageResult* stage, const std::string& missing);

}  // namespace hpm
