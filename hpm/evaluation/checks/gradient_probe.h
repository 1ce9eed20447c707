// defines: GradientProbe, probe_gradient(), require_gradient(), attacks_ask_for_gradients(), blind_rows()
#pragma once
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/attacks/sequence.h"
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

/// Whether any of these attacks asks for more than predictions.
bool attacks_ask_for_gradients(const std::vector<AttackSpec>& attacks);

}  // namespace hpm
