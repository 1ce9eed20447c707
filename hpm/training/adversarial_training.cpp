#include "hpm/training/adversarial_training.h"

namespace hpm {

AdversarialTraining::AdversarialTraining(HpmModel model, AdversaryOptions adversary, uint64_t seed,
                                         const MethodOptions& method)
    : model_(std::move(model)), adversary_(std::move(adversary)), streams_(seed), method_(make_method(method)) {
  model_.classifier.set_requires_grad(true);
}

Tensor AdversarialTraining::adversarial(const TrainingBatch& batch) {
  const AdversaryPasses passes(model_.classifier, adversary_);
  ClassifierVictim attacked(passes.classifier());
  return method_->search({attacked, &passes.classifier()}, batch, adversary_, streams_);
}

StepReport AdversarialTraining::loss(const TrainingBatch& batch, const Tensor& x) {
  StepReport report;
  {
    const TrainingPasses mode(model_.classifier, adversary_);
    const auto logits = [&](const Tensor& images) {
      return model_.classifier.logits(mode.images(images)).to(images.scalar_type());
    };
    const auto clean = method_->needs_clean() ? logits(batch.x) : Tensor();
    const auto adversarial = logits(x);
    report = {method_->loss({clean, adversarial, batch}), adversarial.detach().argmax(1).eq(batch.y).sum()};
  }
  const auto term = method_->regulariser(model_.classifier, batch, adversary_, streams_);
  if (term.defined()) report.loss = report.loss + term;
  return report;
}

std::vector<std::unique_ptr<AttackModel>> AdversarialTraining::attacked() {
  std::vector<std::unique_ptr<AttackModel>> all;
  all.push_back(std::make_unique<ClassifierModel>(model_.classifier));
  return all;
}

}  // namespace hpm
