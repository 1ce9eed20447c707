#include "hpm/gauntlet/batch_statistics.h"

namespace hpm::gauntlet {
namespace {

using HeadOfBatch = std::function<Tensor(const Tensor& z)>;

/// A prediction from the features z [B,D] of a whole batch.
GauntletEntry coupled(std::string name, std::string mechanism, std::string source,
                      std::function<HeadOfBatch(const GauntletSetting&)> make) {
  GauntletEntry entry{std::move(name), std::move(mechanism), std::move(source), false, {Cause::batch}};
  entry.prediction = [make](const GauntletSetting& s) {
    auto function = plain_prediction(s.base.classes(),
                                     [net = s.base, head = make(s)](const Tensor& x) { return head(net.features(x)); });
    function.coupling = Coupling::batch;
    return function;
  };
  entry.twins = [](const GauntletSetting& s) { return std::vector<PredictionFunction>{plain_prediction(s.base)}; };
  return entry;
}

}  // namespace

GauntletEntry batch_statistics() {
  return coupled("batch-statistics", "features normalised by the batch: neighbours move a prediction",
                 "Wu et al., arXiv:2301.12576", [](const GauntletSetting& s) -> HeadOfBatch {
                   torch::NoGradGuard guard;
                   const auto clean = s.base.features(s.training.x);
                   const auto mean = clean.mean(0, true), spread = clean.std(0, true, true);
                   return [net = s.base, mean, spread](const Tensor& z) {
                     if (z.size(0) < 2) return net.head(z);  // a batch of one has no statistics
                     const auto own = (z - z.mean(0, true)) / (z.std(0, true, true) + 1e-3);
                     return net.head(.5 * z + .5 * (own * spread + mean));
                   };
                 });
}

GauntletEntry adapting_means() {
  return coupled("adapting-means", "logits join the distances to the batch's own class means",
                 "Wang et al. (DENT), arXiv:2105.08714; Croce et al., arXiv:2202.13711",
                 [](const GauntletSetting& s) -> HeadOfBatch {
                   return [net = s.base](const Tensor& z) {
                     const auto logits = net.head(z);
                     const auto assigned = at::one_hot(logits.argmax(1), logits.size(1)).to(z.scalar_type());
                     const auto means = assigned.t().matmul(z) / assigned.sum(0).clamp_min(1).unsqueeze(1);
                     const auto distance = (z.unsqueeze(1) - means).pow(2).sum(2);
                     return logits - 10 * logits.detach().abs().mean() * distance / z.detach().pow(2).sum(1, true);
                   };
                 });
}

}  // namespace hpm::gauntlet
