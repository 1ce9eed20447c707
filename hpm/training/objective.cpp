#include "hpm/training/objective.h"

#include "hpm/core/error.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {
namespace {

/// Forward passes of training proper use the batch's statistics where asked; adversaries and means never do.
class ScopedBatchNorm {
 public:
  ScopedBatchNorm(Classifier& classifier, const AdversaryOptions& options) : classifier_(classifier) {
    classifier_.set_training(options.batch_norm == "batch");
  }
  ~ScopedBatchNorm() { classifier_.set_training(false); }

 private:
  Classifier& classifier_;
};

Tensor correct(const Tensor& logits, const Tensor& y) { return logits.detach().argmax(1).eq(y).sum(); }

}  // namespace

AdversarialTraining::AdversarialTraining(HpmModel model, AdversaryOptions adversary, uint64_t seed)
    : model_(std::move(model)), adversary_(std::move(adversary)), streams_(seed) {
  model_.classifier.set_requires_grad(true);
}

StepReport AdversarialTraining::loss(const TrainingBatch& batch) {
  ClassifierModel attacked(model_.classifier);
  const auto x = pgd_training_images(attacked, {batch.x, batch.y, batch.index}, adversary_.threat, adversary_.steps,
                                     adversary_.step(), streams_, batch.epoch);
  ScopedBatchNorm mode(model_.classifier, adversary_);
  const auto logits = model_.classifier.logits(x);
  return {at::cross_entropy_loss(logits, batch.y), correct(logits, batch.y)};
}

HpmFineTuning::HpmFineTuning(HpmModel model, HpmTrainingOptions options, AdversaryOptions adversary, uint64_t seed)
    : model_(std::move(model)), options_(std::move(options)), adversary_(std::move(adversary)), streams_(seed) {
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

Tensor HpmFineTuning::adversarial_images(const TrainingBatch& batch, const Output& clean) {
  // Rows of the batch are numbered 0.. for the company; the random start keeps the images' own numbers.
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
  const Images images{batch.x, batch.y, batch.index};
  const auto run = [&](AttackModel& attacked) {
    return pgd_training_images(attacked, images, adversary_.threat, adversary_.steps, adversary_.step(), streams_,
                               batch.epoch);
  };
  if (options_.adversary == "fc") {
    ClassifierModel fc(model_.classifier);
    return run(fc);
  }
  HpmModel constant{model_.classifier, model_.head->clone()};
  Context context{options_.context};
  if (options_.context == ContextKind::solo)
    context.company = std::make_shared<Company>(*constant.head, at::arange(batch.x.size(0)), clean.features,
                                                clean.logits, batch.x.size(0), 0);
  HpmAttackModel attacked(constant, context, hpm_surrogate(options_.adversary));
  Renumbered renumbered(attacked, batch.x.size(0));
  return run(renumbered);
}

Tensor HpmFineTuning::logits(const Tensor& h, const Assigned& assigned, const Output& clean) const {
  const auto& head = *model_.head;
  if (options_.context == ContextKind::joint) return joint_logits(head, h, assigned);
  if (options_.context == ContextKind::alone) return row_logits(head, h, assigned);
  // The neighbours' features are constants, but they are seen through the metric that learns.
  const auto own = head.embed(clean.features);
  const auto company = class_statistics(hard_assignment(clean.logits), own);
  const auto own_class = clean.logits.argmax(1);
  const auto neighbours = make_neighbours(head, company.sums.unsqueeze(0), company.counts.unsqueeze(0),
                                          at::zeros_like(own_class), own_class, own);
  const auto rows = neighbours.of(at::arange(h.size(0), own_class.options()));
  return row_logits(head, h, assigned, &rows);
}

StepReport HpmFineTuning::loss(const TrainingBatch& batch) {
  Output clean;
  {
    torch::NoGradGuard guard;
    clean = model_.run(batch.x);
  }
  const auto x = adversarial_images(batch, clean);
  const auto& head = *model_.head;
  ScopedBatchNorm mode(model_.classifier, adversary_);
  const auto out = model_.run(x);
  const auto hpm = logits(head.embed(out.features), assign(out.logits, Assignment::ste, head.temperature), clean);
  seen_z_ = at::cat({clean.features, out.features.detach()});
  seen_y_ = at::cat({batch.y, batch.y});
  const auto loss =
      at::cross_entropy_loss(hpm, batch.y) + options_.fc_weight * at::cross_entropy_loss(out.logits, batch.y);
  return {loss, correct(hpm, batch.y)};
}

void HpmFineTuning::after_step() { model_.head->update_means(seen_z_, seen_y_); }

}  // namespace hpm
