#include "hpm/training/adversary.h"

#include "hpm/core/stamp_impl.h"
#include "hpm/models/autocast.h"

namespace hpm {

Answer ClassifierVictim::ask(const Query& query, const Loss* loss) {
  const at::AutoGradMode gradients(loss != nullptr);
  const auto x = query.x.detach().requires_grad_(loss != nullptr);
  const auto logits = classifier_.logits(x);
  Answer answer;
  answer.target_logits = logits.detach();
  if (loss) differentiate(x, logits, *loss, answer);
  return answer;
}

Tensor cross_entropy_gradient(const Victim& victim, const TrainingBatch& batch, const Tensor& x, int64_t draw) {
  if (!batch.targets.defined() || !victim.classifier) {
    const Loss loss{LossKind::ce, batch.y, {}};
    return victim.attacked.ask({x, batch.index, draw}, &loss).gradient;
  }
  const at::AutoGradMode gradients(true);
  const auto leaf = x.detach().requires_grad_();
  const auto loss = at::cross_entropy_loss(victim.classifier->logits(leaf), batch.targets, {}, at::Reduction::Sum);
  return torch::autograd::grad({loss}, {leaf})[0];
}

Tensor climb(Tensor x, const TrainingBatch& batch, const AdversaryOptions& options,
             const std::function<Tensor(const Tensor& x, int64_t step)>& gradient) {
  for (int64_t i = 0; i < options.steps; ++i)
    x = project(x + options.step() * steepest_direction(gradient(x, i), options.threat.norm), batch.x, options.threat);
  return x;
}

Tensor start_near(const TrainingBatch& batch, const RandomStreams& streams) {
  const auto noise = streams.normal(batch.index, {"training start", batch.epoch}, batch.x.sizes().slice(1));
  return at::clamp(batch.x + .001 * noise.to(batch.x.options()), 0., 1.);
}

FixedWeights::FixedWeights(Classifier classifier) : classifier_(std::move(classifier)) {
  classifier_.set_training(false);
  classifier_.set_requires_grad(false);
  for (const auto& [name, tensor] : classifier_.state()) count_change(tensor);
}
FixedWeights::~FixedWeights() { classifier_.set_requires_grad(true); }

AdversaryPasses::AdversaryPasses(const Classifier& classifier, const AdversaryOptions& options)
    : classifier_(classifier) {
  classifier_.set_training(false);
  if (options.precision != "float32") fixed_.emplace(classifier_);
  if (options.precision == "bfloat16") classifier_.set_search_precision(at::kBFloat16);
}

TrainingPasses::TrainingPasses(Classifier& classifier, const AdversaryOptions& options)
    : classifier_(classifier), channels_last_(options.precision != "float32") {
  classifier_.set_training(options.batch_norm == "batch");
  if (options.precision == "bfloat16")
    autocast_ = std::make_unique<ScopedAutocast>(classifier.device().type(), at::kBFloat16);
}
TrainingPasses::~TrainingPasses() { classifier_.set_training(false); }
Tensor TrainingPasses::images(const Tensor& x) const {
  return channels_last_ ? x.contiguous(at::MemoryFormat::ChannelsLast) : x;
}

}  // namespace hpm
