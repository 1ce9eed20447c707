#include "hpm/attacks/losses.h"

#include "hpm/core/error.h"

namespace hpm {

std::string to_string(LossKind kind) {
  switch (kind) {
    case LossKind::ce: return "ce";
    case LossKind::ce_scaled: return "ce-scaled";
    case LossKind::dlr: return "dlr";
    case LossKind::dlr_targeted: return "dlr-targeted";
    case LossKind::difference: return "difference";
    case LossKind::logits: return "logits";
    default: return "own";
  }
}

LossKind parse_loss(const std::string& name) {
  if (name == "ce") return LossKind::ce;
  if (name == "dlr") return LossKind::dlr;
  fail_usage("loss: needs ce or dlr, but got \"{}\"", name);
}

Tensor dlr(const Tensor& logits, const Tensor& y) {
  require(logits.size(1) >= 3, "dlr: needs at least 3 classes, but got {}", logits.size(1));
  const auto [sorted, order] = logits.sort(1);
  const auto is_top = order.select(1, -1).eq(y).to(logits.scalar_type());
  const auto own = logits.gather(1, y.unsqueeze(1)).squeeze(1);
  const auto z1 = sorted.select(1, -1), z2 = sorted.select(1, -2), z3 = sorted.select(1, -3);
  return -(own - z2 * is_top - z1 * (1. - is_top)) / (z1 - z3 + 1e-12);
}

Tensor dlr_targeted(const Tensor& logits, const Tensor& y, const Tensor& t) {
  require(logits.size(1) >= 4, "dlr_targeted: needs at least 4 classes, but got {}", logits.size(1));
  const auto sorted = std::get<0>(logits.sort(1));
  const auto own = logits.gather(1, y.unsqueeze(1)).squeeze(1), target = logits.gather(1, t.unsqueeze(1)).squeeze(1);
  const auto z1 = sorted.select(1, -1), z3 = sorted.select(1, -3), z4 = sorted.select(1, -4);
  return -(own - target) / (z1 - .5 * (z3 + z4) + 1e-12);
}

Tensor margin(const Tensor& logits, const Tensor& y) {
  const auto column = y.unsqueeze(1);
  const auto others = logits.scatter(1, column, -std::numeric_limits<double>::infinity());
  return logits.gather(1, column).squeeze(1) - others.amax(1);
}

Tensor logit_spread(const Tensor& logits) {
  constexpr double kSmallest = std::numeric_limits<float>::min();
  const auto largest = logits.abs().amax(1, true).clamp_min(kSmallest);
  return ((logits / largest).std(1) * largest.squeeze(1)).clamp_min(kSmallest);
}

Tensor loss_values(const Tensor& logits, const Loss& loss) {
  switch (loss.kind) {
    case LossKind::ce: return at::cross_entropy_loss(logits, loss.labels, {}, at::Reduction::None);
    case LossKind::ce_scaled:
      return at::cross_entropy_loss(logits / logit_spread(logits.detach()).unsqueeze(1), loss.labels, {},
                                    at::Reduction::None);
    case LossKind::dlr: return dlr(logits, loss.labels);
    case LossKind::dlr_targeted: return dlr_targeted(logits, loss.labels, loss.targets);
    case LossKind::difference:
      return -(logits.gather(1, loss.labels.unsqueeze(1)) - logits.gather(1, loss.targets.unsqueeze(1))).squeeze(1);
    case LossKind::logits: return logits;
    default:
      fail_usage(
          "loss_values: the loss \"own\" needs a surrogate with an objective of its own, and this model has logits "
          "alone; use another loss");
  }
}

}  // namespace hpm
