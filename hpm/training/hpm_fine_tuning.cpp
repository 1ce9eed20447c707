#include "hpm/training/hpm_fine_tuning.h"

#include "hpm/core/error.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {
namespace {

/// The company numbers the batch's rows from 0, while random starts follow the images' numbers in the training set.
class Renumbered : public AttackModel {
 public:
  Renumbered(AttackModel& inner, int64_t rows) : inner_(inner), index_(at::arange(rows)) {}
  Answer ask(const Query& q, const Loss* loss) override { return inner_.ask({q.x, index_, q.draw}, loss); }
  int64_t classes() const override { return inner_.classes(); }
  Passes passes() const override { return inner_.passes(); }

 private:
  AttackModel& inner_;
  Tensor index_;
};

}  // namespace

HpmFineTuning::HpmFineTuning(HpmModel model, HpmTrainingOptions options, AdversaryOptions adversary, uint64_t seed,
                             const MethodOptions& method)
    : model_(std::move(model)),
      options_(std::move(options)),
      adversary_(std::move(adversary)),
      streams_(seed),
      method_(make_method(method)),
      smoothing_(method.label_smoothing) {
  require(model_.head.has_value(), "HpmFineTuning: needs a model with an HPM head");
  require(options_.context != ContextKind::reference && options_.context != ContextKind::solo_eot,
          "HpmFineTuning: the training context needs to be solo, joint or alone");
  model_.classifier.set_requires_grad(true);
  auto& head = *model_.head;
  if (head.metric.defined()) head.metric.requires_grad_();
  head.log_tau.requires_grad_();
}

std::vector<Tensor> HpmFineTuning::parameters() {
  auto all = model_.classifier.parameters();
  all.push_back(model_.head->log_tau);
  if (model_.head->metric.defined()) all.push_back(model_.head->metric);
  return all;
}

Tensor HpmFineTuning::adversarial(const TrainingBatch& batch) {
  const AdversaryPasses passes(model_.classifier, adversary_);
  seen_z_.reset();
  {
    torch::NoGradGuard guard;
    clean_ = model_.run(batch.x);
  }
  if (options_.adversary == "fc") {
    ClassifierVictim fc(passes.classifier());
    return method_->search({fc, &passes.classifier()}, batch, adversary_, streams_);
  }
  HpmModel constant{passes.classifier(), model_.head->clone()};
  Context context{options_.context};
  if (options_.context == ContextKind::solo)
    context.company = std::make_shared<Company>(*constant.head, at::arange(batch.x.size(0)), clean_.features,
                                                clean_.logits, batch.x.size(0), 0);
  HpmAttackModel attacked(constant, context, hpm_surrogate(options_.adversary), false);
  Renumbered renumbered(attacked, batch.x.size(0));
  return method_->search({renumbered, nullptr}, batch, adversary_, streams_);
}

Tensor HpmFineTuning::logits(const Tensor& h, const Assigned& assigned) const {
  const auto& head = *model_.head;
  if (options_.context == ContextKind::joint) return joint_logits(head, h, assigned);
  if (options_.context == ContextKind::alone) return row_logits(head, h, assigned);
  // The neighbours' features z are constants, but gradients reach the metric through their h = P z.
  const auto own = head.embed(clean_.features);
  const auto company = class_statistics(hard_assignment(clean_.logits), own);
  const auto own_class = clean_.logits.argmax(1);
  const auto neighbours = make_neighbours(head, company.sums.unsqueeze(0), company.counts.unsqueeze(0),
                                          at::zeros_like(own_class), own_class, own);
  const auto rows = neighbours.of(at::arange(h.size(0), own_class.options()));
  return row_logits(head, h, assigned, &rows);
}

StepReport HpmFineTuning::loss(const TrainingBatch& batch, const Tensor& x) {
  Output out;
  Tensor clean;
  {
    const TrainingPasses mode(model_.classifier, adversary_);
    const auto type = batch.x.scalar_type();
    if (method_->needs_clean()) clean = model_.run(mode.images(batch.x)).logits.to(type);
    out = model_.run(mode.images(x));
    out = {out.features.to(type), out.logits.to(type)};
  }
  const auto& head = *model_.head;
  const auto hpm = logits(head.embed(out.features), assign(out.logits, Assignment::ste, head.temperature));
  // A weight perturbation asks twice. The first time is at the weights as they are: the prototypes follow these
  // features.
  if (!seen_z_.defined()) {
    seen_z_ = at::cat({clean_.features, out.features.detach()});
    seen_y_ = at::cat({batch.y, batch.y});
  }
  auto loss = cross_entropy(hpm, batch, smoothing_) + options_.fc_weight * method_->loss({clean, out.logits, batch});
  const auto term = method_->regulariser(model_.classifier, batch, adversary_, streams_);
  if (term.defined()) loss = loss + term;
  return {loss, hpm.detach().argmax(1).eq(batch.y).sum()};
}

void HpmFineTuning::after_step() { model_.head->update_means(seen_z_, seen_y_); }

std::vector<std::unique_ptr<AttackModel>> HpmFineTuning::attacked() {
  HpmModel constant{model_.classifier, model_.head->clone()};
  std::vector<std::unique_ptr<AttackModel>> all;
  for (const auto& surrogate : hpm_surrogates())
    if (surrogate.validates)
      all.push_back(std::make_unique<HpmAttackModel>(constant, Context{ContextKind::alone}, surrogate));
  return all;
}

}  // namespace hpm
