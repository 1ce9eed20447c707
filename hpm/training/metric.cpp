#include "hpm/training/metric.h"

#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/training/optimizer.h"

namespace hpm {

void require_every_class(const Tensor& counts) {
  const auto absent = counts.eq(0).nonzero();
  if (absent.numel() > 0)
    fail("class_means: class {} has no training image; give more with --fit-images", absent[0].item<int64_t>());
}

void require_rank(int64_t rank, int64_t features) {
  require(rank >= 1 && rank <= features,
          "lda_directions: needs a rank from 1 to {} (the number of features), but got {}", features, rank);
}

Tensor class_means(const HpmHead& head, const FeatureSet& features, int64_t classes) {
  torch::NoGradGuard guard;
  const auto onehot = at::one_hot(features.y, classes).to(features.z.scalar_type());
  const auto [sums, counts] = class_statistics(onehot, head.prepare(features.z));
  require_every_class(counts);
  return sums / counts.unsqueeze(1);
}

Tensor lda_directions(const FeatureSet& features, int64_t classes, int64_t rank) {
  torch::NoGradGuard guard;
  const auto z = features.z.to(at::kDouble);
  const int64_t d = z.size(1);
  require_rank(rank, d);
  const auto onehot = at::one_hot(features.y, classes).to(at::kDouble);
  const auto counts = onehot.sum(0).clamp_min(1);
  const auto means = onehot.t().matmul(z) / counts.unsqueeze(1);
  const auto within = z - means.index_select(0, features.y);
  const auto sw = within.t().matmul(within) / static_cast<double>(z.size(0));
  const auto centred = means - z.mean(0, true);
  const auto sb = (centred * (counts / static_cast<double>(z.size(0))).unsqueeze(1)).t().matmul(centred);
  // A ridge keeps the whitening of features without variance finite.
  const auto ridge = 1e-4 * sw.trace() / static_cast<double>(d) + 1e-12;
  const auto [values, vectors] = at::linalg_eigh(sw + ridge * at::eye(d, z.options()));
  const auto whitening = (vectors / values.sqrt()).matmul(vectors.t());
  const auto directions = std::get<1>(at::linalg_eigh(whitening.matmul(sb).matmul(whitening)));
  const auto leading = directions.slice(1, d - rank).flip(1);
  return leading.t().matmul(whitening).to(features.z.scalar_type()).contiguous();
}

void fit_tau(HpmHead& head, const FeatureSet& features) {
  torch::NoGradGuard guard;
  head.log_tau = at::zeros({}, features.z.options());
  const auto distances = -stable_logits(head, head.embed(features.z));
  // The grid spans six decades around the typical distance.
  const double typical = distances.mean().item<double>() + 1e-12;
  double best = std::numeric_limits<double>::infinity();
  for (int i = -36; i <= 12; ++i) {
    const double tau = typical * std::pow(10., i / 8.);
    const auto loss = at::cross_entropy_loss(-distances / tau, features.y).item<double>();
    if (loss < best) best = loss, head.log_tau = torch::tensor(std::log(tau), features.z.options());
  }
}

void fit_metric(HpmHead& head, const FeatureSet& features, const MetricFit& options, uint64_t seed, Monitor& monitor) {
  const int64_t classes = head.classes(), m = features.z.size(0);
  if (head.kind == MetricKind::learned && !head.metric.defined())
    head.metric =
        lda_directions(features, classes, options.rank > 0 ? options.rank : std::min(classes - 1, features.z.size(1)));
  fit_tau(head, features);
  if (head.kind != MetricKind::learned || options.steps == 0) return;
  head.metric = head.metric.detach().clone().requires_grad_();
  head.log_tau = head.log_tau.detach().clone().requires_grad_();
  Optimizer optimizer({.lr = options.lr, .schedule = "cosine", .warmup = 0}, {head.metric, head.log_tau});
  const RandomStreams streams(seed);
  Tensor order;
  int64_t at_row = m, pass = 0;
  monitor.begin("fit the metric", options.steps, "steps");
  for (int64_t i = 0; i < options.steps; ++i) {
    if (at_row + options.batch > m || !order.defined()) order = streams.permutation(m, {"metric", pass++}), at_row = 0;
    const auto rows = order.slice(0, at_row, std::min(at_row + options.batch, m));
    at_row += options.batch;
    const auto logits = stable_logits(head, head.embed(features.z.index_select(0, rows.to(features.z.device()))));
    optimizer.step(at::cross_entropy_loss(logits, features.y.index_select(0, rows.to(features.y.device()))), i,
                   options.steps);
    monitor.step(i + 1);
  }
  monitor.end();
  head.metric = head.metric.detach();
  head.log_tau = head.log_tau.detach();
}

}  // namespace hpm
