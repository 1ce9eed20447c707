#include "hpm/training/validation.h"

#include "hpm/attacks/losses.h"

namespace hpm {

void fields(Fields& f, ValidationOptions& o) {
  f.section("validation");
  f.add("validation", o.images,
        "training images held out for robust validation; the best weights on them are kept (0: "
        "none)",
        {.min = 0, .unit = "images"});
  f.add("validate-every", o.every, "epochs from one validation to the next", {.min = 1});
  f.add("validation-steps", o.steps, "PGD steps of validation, each eps / 4", {.min = 1, .max = 1000});
  f.add("patience", o.patience, "stop after so many validations without a better one (0: never)", {.min = 0});
}

namespace {

void look_at(AttackModel& model, const Images& images, const ThreatModel& threat, const ValidationOptions& options,
             const RandomStreams& streams, HeldOut& seen) {
  const auto adversarial =
      pgd_training_images(model, images, threat, options.steps, threat.eps / 4, streams, /*epoch=*/-2);
  const auto margins = [&](const Tensor& x) {
    return margin(model.ask({x, images.index}, nullptr).target_logits, images.y).to(at::kCPU);
  };
  seen = {images.x.to(at::kCPU), adversarial.to(at::kCPU), margins(images.x), margins(adversarial)};
}

}  // namespace

Validation validate(Objective& objective, const Dataset& data, const Tensor& held_out, const ThreatModel& threat,
                    const ValidationOptions& options, uint64_t seed, HeldOut* seen) {
  const FixedWeights fixed(objective.model().classifier);
  const auto device = objective.model().classifier.device();
  const auto models = objective.attacked();
  const RandomStreams streams(seed);
  int64_t clean = 0, fgsm_left = 0, pgd_left = 0;
  for (const auto& index : held_out.split(options.batch)) {
    const Images images{data.images(index).to(device), data.labels.index_select(0, index).to(device), index};
    const auto right = models[0]->ask({images.x, index}, nullptr).target_logits.argmax(1).eq(images.y);
    auto by_fgsm = right.clone(), by_pgd = right.clone();
    for (const auto& model : models) {
      by_fgsm &= fgsm(*model, images, threat).broken.logical_not();
      by_pgd &= pgd(*model, images, threat, {.steps = options.steps}, streams).broken.logical_not();
    }
    clean += right.sum().item<int64_t>();
    fgsm_left += by_fgsm.sum().item<int64_t>();
    pgd_left += by_pgd.sum().item<int64_t>();
    if (seen && !seen->x.defined()) look_at(*models[0], images, threat, options, streams, *seen);
  }
  const auto percent = [&](int64_t n) { return 100. * static_cast<double>(n) / static_cast<double>(held_out.size(0)); };
  return {percent(clean), percent(fgsm_left), percent(pgd_left), held_out.size(0)};
}

namespace {

/// Whether the accuracies p < q, in percent of n images, differ by more than `least` points and three standard errors.
bool below(double p, double q, double least, int64_t n) {
  const auto variance = [](double percent) { return percent * (100 - percent); };
  return q - p >
         std::max(least, 3 * std::sqrt((variance(p) + variance(q)) / static_cast<double>(std::max<int64_t>(n, 1))));
}

}  // namespace

// Why these limits. `fgsm`: of the robust networks that the project was tried on, PGD-20 left over nine tenths of what
// FGSM left at the radius of their training. An undefended ResNet-20 for CIFAR-10 is never taken for an overfitted one:
// where FGSM left it two thirds of its clean accuracy (Linf .5/255), PGD left seven eighths of that; where PGD left
// less than a quarter (2/255), FGSM had taken two thirds. So an epoch that has only begun to learn has no such gap.
// `training`: robust overfitting (Rice et al., arXiv:2002.11569), another thing, leaves well over a tenth of the
// accuracy on training's images, and an honest early epoch has about the same on both. Below 20 % on training's images
// there is nothing yet that could be lost.
Overfitting catastrophic_overfitting(const std::optional<Validation>& best, const Validation& now,
                                     double training_accuracy) {
  constexpr double kPoints = 5, kLearnt = 20;
  if (best && below(now.pgd, best->pgd, kPoints, now.images) && now.fgsm > best->fgsm) return Overfitting::fall;
  if (now.fgsm > 2. / 3 * now.clean && now.pgd < now.fgsm / 4 && below(now.pgd, now.fgsm, kPoints, now.images))
    return Overfitting::fgsm;
  if (training_accuracy > kLearnt && now.pgd < training_accuracy / 10 &&
      below(now.pgd, training_accuracy, kPoints, now.images))
    return Overfitting::training;
  return Overfitting::none;
}

}  // namespace hpm
