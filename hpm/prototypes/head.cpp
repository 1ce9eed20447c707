#include "hpm/prototypes/head.h"

#include "hpm/core/error.h"
#include "hpm/core/stamp_impl.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

Tensor squared(const Tensor& rows) { return (rows * rows).sum(-1); }

/// Calls compute(lambda, 1 - lambda) with two numbers, or for several lambdas with two tensors [L,1,1].
template <class Compute>
Tensor mixed(const HpmHead& head, const HeadOptions& options, const Compute& compute) {
  if (options.lambdas.empty()) {
    const auto lambda = options.lambda.value_or(head.lambda);
    return compute(lambda, 1 - lambda);
  }
  auto rest = options.lambdas;
  for (auto& lambda : rest) lambda = 1 - lambda;
  const auto column = [&](const std::vector<double>& all) {
    return uploaded(torch::tensor(all, at::kDouble), head.means.options()).view({-1, 1, 1});
  };
  return compute(column(options.lambdas), column(rest));
}

/// r_k, the weight of the stable prototype in d_k: 1 - n_k for a class without samples, else 0; with a soft assignment
/// relu(1 - n_k). The hard count decides whether a class has samples; n carries the gradient.
Tensor missing(const Tensor& n, const Tensor& hard_count, Assignment kind) {
  return kind == Assignment::soft ? at::relu(1 - n) : (1 - n) * hard_count.eq(0).to(n.scalar_type());
}

/// -|h - m|^2 / tau for prototypes that all rows share. Both are centred first, which saves digits. h [N,R], m [K,R] or
/// [L,K,R].
Tensor shared_logits(const HpmHead& head, const Tensor& h, const Tensor& m) {
  const auto centre = m.detach().mean(-2, true);
  const auto hc = h - centre, mc = m - centre;
  return -(squared(hc).unsqueeze(-1) - 2 * hc.matmul(mc.mT()) + squared(mc).unsqueeze(-2)) / head.tau();
}

/// lambda s + (1 - lambda) d.
Tensor mix(const HpmHead& head, const Tensor& s, const Tensor& dynamic, const HeadOptions& options) {
  return mixed(head, options, [&](const auto& lambda, const auto& rest) { return lambda * s + rest * dynamic; });
}

Tensor centre_of(const Tensor& stable) { return stable.detach().mean(0, true); }

/// h.U [N,K] of each row with its company. One product with the sums of all batches that occur; each row takes the
/// columns of its batch, and subtracts its own clean part from its class.
Tensor company_products(const Tensor& h, const RowCompany& company) {
  const auto u = company.sums.index_select(0, company.touched).flatten(0, 1);
  const auto own = (h * company.own_features).sum(1, true);
  return h.matmul(u.t()).gather(1, company.columns).scatter_add(1, company.own_class, -own);
}

/// The batches that occur among the rows, and each row's place among these. Which they are is a question that a GPU
/// would have to be waited for, so it is answered on the CPU where that is possible.
std::pair<Tensor, Tensor> batches_of(const Neighbours& all, const Tensor& rows) {
  const auto device = all.batch.device();
  if (all.sums.size(0) == 1)
    return {at::zeros({1}, all.batch.options()), at::zeros({rows.size(0)}, all.batch.options())};
  const bool known = rows.is_cpu() && all.batch_on_cpu.defined();
  const auto [touched, place] = at::_unique((known ? all.batch_on_cpu : all.batch).index_select(0, rows), true, true);
  return {uploaded(touched, device), uploaded(place, device)};
}

}  // namespace

MetricKind parse_metric(const std::string& name) {
  if (name == "none") return MetricKind::none;
  if (name == "l2norm") return MetricKind::l2norm;
  if (name == "learned") return MetricKind::learned;
  fail_usage("metric: needs none, l2norm or learned, but got \"{}\"", name);
}
std::string to_string(MetricKind kind) {
  return kind == MetricKind::none ? "none" : kind == MetricKind::l2norm ? "l2norm" : "learned";
}
ContextKind parse_context(const std::string& name) {
  for (auto kind :
       {ContextKind::reference, ContextKind::alone, ContextKind::solo, ContextKind::solo_eot, ContextKind::joint})
    if (to_string(kind) == name) return kind;
  fail_usage("context: needs reference, alone, solo, solo-eot or joint, but got \"{}\"", name);
}
std::string to_string(ContextKind kind) {
  switch (kind) {
    case ContextKind::reference: return "reference";
    case ContextKind::alone: return "alone";
    case ContextKind::solo: return "solo";
    case ContextKind::solo_eot: return "solo-eot";
    default: return "joint";
  }
}

Tensor HpmHead::prepare(const Tensor& z) const {
  return kind == MetricKind::l2norm ? z / (squared(z).clamp_min(1e-24).sqrt().unsqueeze(-1) + 1e-12) : z;
}
Tensor HpmHead::project(const Tensor& prepared) const {
  return kind == MetricKind::learned ? prepared.matmul(metric.t()) : prepared;
}
struct HpmHead::Projections {
  struct One {
    Stamp metric, of;
    Tensor value;
  };
  std::vector<One> all;  // at most two: of the means and of the calibration sums
};

Tensor HpmHead::projected(const Tensor& fixed) const {
  if (kind != MetricKind::learned || metric.requires_grad()) return project(fixed);
  if (!kept) kept = std::make_shared<Projections>();
  auto& all = kept->all;
  for (const auto& one : all)
    if (one.of.holds(fixed) && one.metric.holds(metric)) return one.value;
  if (all.size() >= 2) all.erase(all.begin());
  const c10::InferenceMode ordinary(false);
  torch::NoGradGuard guard;
  return all.emplace_back(Stamp(metric), Stamp(fixed), project(fixed)).value;
}

Tensor HpmHead::stable() const { return projected(means); }
Tensor HpmHead::tau() const { return log_tau.exp(); }

void HpmHead::update_means(const Tensor& z, const Tensor& y) {
  torch::NoGradGuard guard;
  const auto onehot = at::one_hot(y, classes()).to(means.scalar_type());
  const auto [sums, counts] = class_statistics(onehot, prepare(z.detach()));
  const auto present = counts.gt(0).unsqueeze(1);
  const auto batch_means = sums / counts.clamp_min(1).unsqueeze(1);
  means = at::where(present, momentum * means + (1 - momentum) * batch_means, means);
}

void HpmHead::to(at::Device device, at::ScalarType type) {
  for (Tensor* t : {&means, &metric, &calibration_sums, &calibration_counts, &log_tau})
    if (t->defined()) *t = t->detach().to(device, type);
}

HpmHead HpmHead::clone() const {
  HpmHead copy = *this;
  copy.kept.reset();
  for (Tensor* t : {&copy.means, &copy.metric, &copy.calibration_sums, &copy.calibration_counts, &copy.log_tau})
    if (t->defined()) *t = t->detach().clone();
  return copy;
}

std::vector<std::pair<std::string, Tensor>> HpmHead::state() const {
  std::vector<std::pair<std::string, Tensor>> all{{"hpm.means", means}};
  if (metric.defined()) all.emplace_back("hpm.metric", metric);
  if (calibration_sums.defined()) {
    all.emplace_back("hpm.calibration_sums", calibration_sums);
    all.emplace_back("hpm.calibration_counts", calibration_counts);
  }
  all.emplace_back("hpm.log_tau", log_tau);
  all.emplace_back("hpm.lambda", torch::tensor(lambda, at::kFloat));
  return all;
}

Tensor joint_logits(const HpmHead& head, const Tensor& h, const Assigned& assigned, const HeadOptions& options) {
  const auto s = head.stable();
  const auto [sums, n] = class_statistics(assigned.weights, h);
  const auto r = missing(n, assigned.hard.sum(0), assigned.kind);
  const auto dynamic = (sums + r.unsqueeze(1) * s) / (n + r).unsqueeze(1);
  const auto m = mix(head, s, dynamic, options);
  return shared_logits(head, h, options.detached ? m.detach() : m);
}

Neighbours make_neighbours(const HpmHead& head, const Tensor& sums, const Tensor& counts, const Tensor& batch,
                           const Tensor& own_class, const Tensor& own_features) {
  const auto here = uploaded(batch, sums.device());
  const auto stable = head.stable();
  const auto centre = centre_of(stable);
  const auto s = stable - centre, own = own_features - centre;
  const auto u = sums - counts.unsqueeze(2) * centre;
  const auto own_u = u.flatten(0, 1).index_select(0, here * head.classes() + own_class);
  // What a member adds to U.U: |U|^2 - |U - own|^2.
  const auto uu = (own * (2 * own_u - own)).sum(1), us = (own * s.index_select(0, own_class)).sum(1);
  const auto products = at::stack({counts, squared(u), (u * s).sum(2)}, 1);
  return {centre,
          u,
          products,
          here,
          own_class,
          own_features,
          at::stack({at::ones_like(uu), uu, us}, 1),
          batch.is_cpu() ? batch : Tensor()};
}

RowCompany Neighbours::of(const Tensor& members) const {
  const auto k = sums.size(1);
  const auto [touched, place] = batches_of(*this, members);
  const auto rows = uploaded(members, batch.device());
  const auto their = batch.index_select(0, rows), their_class = own_class.index_select(0, rows).unsqueeze(1);
  const auto left_out = own_products.index_select(0, rows).unsqueeze(2);
  const auto all =
      products.index_select(0, their).scatter_add(2, their_class.unsqueeze(1).expand({-1, 3, 1}), -left_out).unbind(1);
  return {sums,
          touched,
          place.unsqueeze(1) * k + at::arange(k, place.options()),
          their_class,
          own_features.index_select(0, rows) - centre,
          all[0].contiguous(),
          all[1].contiguous(),
          all[2].contiguous()};
}

Tensor row_logits(const HpmHead& head, const Tensor& h_in, const Assigned& assigned, const RowCompany* company,
                  const HeadOptions& options) {
  const auto stable = options.detached ? head.stable().detach() : head.stable();
  const auto centre = centre_of(stable);
  const auto s = stable - centre, h = h_in - centre;
  const auto zero = at::zeros_like(assigned.hard);
  const auto& counts = company ? company->counts : zero;
  const auto& uu = company ? company->uu : zero;
  const auto& us = company ? company->us : zero;
  const auto hu = company ? company_products(h, *company) : zero;

  // m = a U + g h + b s with coefficients [N,K] of each row. a c + g + b = 1, so moving the origin to the centre
  // changes no distance.
  const auto n = counts + assigned.weights;
  const auto r = missing(n, counts + assigned.hard, assigned.kind);
  const auto hs = h.matmul(s.t()), hh = squared(h).unsqueeze(1), ss = squared(s).unsqueeze(0);
  return mixed(head, options, [&](const auto& lambda, const auto& rest) {
    auto a = rest / (n + r);
    auto g = a * assigned.weights, b = lambda + a * r;
    const auto g1 = 1 - g;
    auto d = g1 * (g1 * hh - 2 * (a * hu + b * hs)) + a * (a * uu + 2 * b * us) + b * b * ss;
    if (options.detached) {
      // With m held constant: the gradient is that of |h|^2 - 2 h.m, the value stays the distance.
      a = a.detach(), g = g.detach(), b = b.detach();
      const auto through_h = hh - 2 * (a * hu + g * (h * h.detach()).sum(1, true) + b * hs);
      d = through_h + (d - through_h).detach();
    }
    return -d / head.tau();
  });
}

Tensor reference_prototypes(const HpmHead& head, const HeadOptions& options) {
  if (!head.calibration_sums.defined())
    fail(
        "reference context: the model has no calibration statistics; attach the head with hpm finetune, which stores "
        "them");
  const auto s = head.stable();
  const auto absent = head.calibration_counts.eq(0).to(s.scalar_type());
  const auto u = head.projected(head.calibration_sums);
  const auto dynamic = (u + absent.unsqueeze(1) * s) / (head.calibration_counts + absent).unsqueeze(1);
  return mix(head, s, dynamic, options);
}

Tensor reference_logits(const HpmHead& head, const Tensor& h, const HeadOptions& options) {
  return shared_logits(head, h, reference_prototypes(head, options));
}

Tensor stable_logits(const HpmHead& head, const Tensor& h) { return shared_logits(head, h, head.stable()); }

std::pair<Tensor, Tensor> fold(const HpmHead& head, const HeadOptions& options) {
  require(head.kind != MetricKind::l2norm, "fold: the metric l2norm is not linear in z, so this head is no FC layer");
  const auto m = reference_prototypes(head, options);
  const auto w = 2 / head.tau() * (head.kind == MetricKind::learned ? m.matmul(head.metric) : m);
  return {w, -squared(m) / head.tau()};
}

}  // namespace hpm
