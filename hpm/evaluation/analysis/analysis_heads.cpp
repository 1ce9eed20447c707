#include "hpm/evaluation/analysis/analysis_heads.h"

#include "hpm/attacks/function_model.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Pairwise distances of rows, double [K,K], without the cancellation of |a|^2 - 2 a.b + |b|^2.
Tensor pairwise(const Tensor& rows) {
  const auto exact = rows.to(at::kDouble);
  return at::cdist(exact, exact, 2, 2);
}

/// -|h - m_k|^2 / tau + |h - c|^2 / tau = 2/tau (m_k - c).h - (|m_k - c|^2 + 2 c.(m_k - c)) / tau, with c the mean of
/// the prototypes: small numbers, so that float32 keeps their differences.
LinearHead from_prototypes(std::string name, const HpmHead& head, const Tensor& prototypes) {
  torch::NoGradGuard guard;
  const auto centre = prototypes.mean(0, true), m = prototypes - centre;
  const bool learned = head.kind == MetricKind::learned;
  return {std::move(name), 2 / head.tau() * (learned ? m.matmul(head.metric) : m),
          -(m * (m + 2 * centre)).sum(1) / head.tau(), prototypes, learned ? MetricKind::none : head.kind};
}

}  // namespace

Tensor LinearHead::logits(const Tensor& z) const { return at::linear(HpmHead{.kind = input}.prepare(z), weight, bias); }

BoundaryDistance LinearHead::boundary(const Tensor& z, const Tensor& y) const {
  torch::NoGradGuard guard;
  const auto u = HpmHead{.kind = input}.prepare(z.to(at::kDouble));
  const auto b = bias.to(at::kDouble), l = at::linear(u, weight.to(at::kDouble), b);
  const auto column = y.unsqueeze(1);
  const auto gap = l.gather(1, column) - l;
  auto normal = pairwise(weight).index_select(0, y);
  if (input == MetricKind::l2norm) {
    // The gradient of w.z/|z| is what of w stands at right angles to z, over |z|.
    const auto along = gap - (b.index_select(0, y).unsqueeze(1) - b.unsqueeze(0));
    normal = (normal * normal - along * along).clamp_min(0).sqrt() / z.to(at::kDouble).norm(2, 1, true);
  }
  // Classes with the same weights have no boundary: infinitely far, or 0 where their logits tie everywhere.
  const auto distances = (gap / normal).nan_to_num(0, kInfinity, -kInfinity).scatter(1, column, kInfinity);
  const auto [distance, nearest] = distances.min(1);
  return {distance, nearest, normal.gather(1, nearest.unsqueeze(1)).squeeze(1)};
}

Tensor LinearHead::prototype_distances() const { return pairwise(prototypes); }

std::unique_ptr<AttackModel> LinearHead::attack_model(const HpmModel& model) const {
  return std::make_unique<FunctionModel>(
      [model, head = *this](const Tensor& x) { return head.logits(model.run(x).features); }, weight.size(0));
}

std::vector<LinearHead> linear_heads(const HpmModel& model) {
  const auto weight = model.classifier.weight().detach();
  require(weight.size(0) >= 2, "linear_heads: needs at least 2 classes, but the model has {}", weight.size(0));
  std::vector<LinearHead> heads{{"fc", weight, model.classifier.bias().detach(), weight}};
  if (!model.head) return heads;
  heads.push_back(from_prototypes("l2", *model.head, model.head->stable().detach()));
  if (model.head->lambda != 1)
    heads.push_back(from_prototypes("hpm", *model.head, reference_prototypes(*model.head).detach()));
  return heads;
}

}  // namespace hpm
