// defines: LossKind, Loss, loss_values(), dlr(), dlr_targeted(), margin(), logit_spread()
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace hpm {

using at::Tensor;

/// What an attack maximises.
enum class LossKind {
  ce,            ///< cross-entropy
  ce_scaled,     ///< cross-entropy of the logits in units of their row's spread, a constant: the scale does not matter
  dlr,           ///< difference of logits ratio (Croce and Hein 2020, arXiv:2003.01690, eq. 6)
  dlr_targeted,  ///< towards a target class (ibid., eq. 7)
  difference,    ///< z_t - z_y, what FAB-T linearises
  logits,        ///< all K logits at once, [N,K]: untargeted FAB needs each one's gradient
  own,           ///< the surrogate's own objective, e.g. `region`; logits alone do not determine it
};
std::string to_string(LossKind kind);
LossKind parse_loss(const std::string& name);  ///< "ce", "dlr"

/// A loss for the rows of a query.
struct Loss {
  LossKind kind = LossKind::ce;
  Tensor labels;   ///< y [N] int64
  Tensor targets;  ///< t [N] int64; for targeted kinds
};

/// -(z_y - max_{i!=y} z_i) / (z_(1) - z_(3) + 1e-12). logits [N,K], K >= 3, y [N] -> [N].
Tensor dlr(const Tensor& logits, const Tensor& y);
/// -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2 + 1e-12). logits [N,K], K >= 4, y, t [N] -> [N].
Tensor dlr_targeted(const Tensor& logits, const Tensor& y, const Tensor& t);
/// z_y - max_{i!=y} z_i: positive while correct. logits [N,K], y [N] -> [N].
Tensor margin(const Tensor& logits, const Tensor& y);

/// The standard deviation of each row: logits [N,K] -> [N]. Positive also where all are equal; finite also where their
/// squares overflow.
Tensor logit_spread(const Tensor& logits);

/// The loss of each row. logits [N,K] -> [N] ([N,K] for LossKind::logits). Throws UsageError for too few classes, and
/// for LossKind::own.
Tensor loss_values(const Tensor& logits, const Loss& loss);

}  // namespace hpm
