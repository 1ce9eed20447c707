// defines: LinearHead, BoundaryDistance, linear_heads()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/attacks/attack_model.h"
#include "hpm/prototypes/model.h"

namespace hpm {

/// How far features lie from the decision boundary of their class, in the units of z.
struct BoundaryDistance {
  Tensor distance;  ///< [N] double: min over k != y of (l_y - l_k) / |w_y - w_k|; negative where y does not win
  Tensor nearest;   ///< [N] int64: the class k of the minimum
  Tensor slope;     ///< [N] double: |w_y - w_k| there, the gradient's norm of l_y - l_k with respect to z
};

/// A classification head as a linear layer on the penultimate features: logits = u W^T + b, with u = z (or z / |z| for
/// the metric l2norm). Distances to prototypes are one too: the term -|h|^2 is common to all classes and means nothing,
/// so it is left out, and argmax, softmax and differences of logits stay what they were.
struct LinearHead {
  std::string name;                     ///< "fc", "l2" (stable prototypes alone) or "hpm" (reference context)
  Tensor weight, bias;                  ///< W [K,D], b [K]
  Tensor prototypes;                    ///< [K,R]: what features are compared with; rows of W for "fc"
  MetricKind input = MetricKind::none;  ///< none or l2norm: what u is

  Tensor logits(const Tensor& z) const;  ///< [N,D] -> [N,K]
  /// z [N,D], y [N]. Exact where u = z; of first order for l2norm, whose boundaries are curved in z.
  BoundaryDistance boundary(const Tensor& z, const Tensor& y) const;
  /// Euclidean distances between the prototypes, double [K,K].
  Tensor prototype_distances() const;
  /// The backbone with this head, as attacks see it.
  std::unique_ptr<AttackModel> attack_model(const HpmModel& model) const;
};

/// The heads of a model file: its FC layer, and with an HPM head l2 and HPM in the reference context (where lambda is 1
/// they are the same, and l2 stands for both). Throws UsageError for a black box.
std::vector<LinearHead> linear_heads(const HpmModel& model);

}  // namespace hpm
