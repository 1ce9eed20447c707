// defines: GradientProbe, probe_gradient(), require_gradient(), attacks_ask_for_gradients(), blind_rows(), still_rows(),
// backward_passes_of()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/attacks/sequence.h"
#include "hpm/core/norms.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// Whether a model's logits have a gradient with respect to the images.
struct GradientProbe {
  enum class Kind {
    present,  ///< some image has one
    zero,     ///< exactly zero for every image looked at, in the cross-entropy and in the margin: dead, saturated or
              ///< masked there, perhaps not elsewhere
    absent,   ///< a black box: the logits do not depend on the images differentiably, or differentiating them fails
  };
  Kind kind = Kind::present;
  std::string reason = {};  ///< why it is absent
  int64_t images = 0;       ///< looked at
  bool differentiable() const { return kind != Kind::absent; }
};

/// One pass without a gradient (which must succeed), one with, on a few images.
GradientProbe probe_gradient(const Classifier& classifier, const Images& sample);

/// Throws UsageError, with what to do instead, where `protocol` differentiates a black box (`protocol` is empty where
/// the attacks ask for predictions alone) and no stand-ins give a gradient in its place. Otherwise what a reader of the
/// results must know, a line each. Zero gradients are not refused: a few images do not show that there are none
/// elsewhere, and the check "zero gradients" judges them.
std::vector<std::string> require_gradient(const Classifier& classifier, const GradientProbe& probe,
                                          const std::string& protocol, bool stand_ins);

/// Rows [N] bool that an attack by gradient sees nothing at: the gradient is exactly zero there, though target and
/// surrogate are right. (An image that one of them has wrong needs no gradient, and DLR is constant where the true
/// class ranks third.)
Tensor blind_rows(AttackModel& model, const Images& images, LossKind kind);
/// The same of the margin of the target class and the runner-up, which no scale of the logits hides.
Tensor blind_rows_of_margin(AttackModel& model, const Images& images);

/// Rows [N] bool whose margin does not grow by a step of eps / 4 along its own gradient: at `start` [N,C,H,W], inside
/// the threat model around `images`. Where a gradient is true of a point and of nothing beside it, an attack that
/// follows it goes nowhere.
Tensor still_rows(AttackModel& model, const Images& images, const Tensor& start, const ThreatModel& threat);
inline Passes still_rows_passes() { return {3, 1}; }  ///< image passes of that, an image

/// How many functions are differentiated while `predict` runs: more than none where an optimiser is inside.
int64_t backward_passes_of(const std::function<void()>& predict);

/// Whether any of these attacks asks for more than predictions.
bool attacks_ask_for_gradients(const std::vector<AttackSpec>& attacks);

}  // namespace hpm
