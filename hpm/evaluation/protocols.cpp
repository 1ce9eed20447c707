#include "hpm/evaluation/protocols.h"

#include "hpm/attacks/kept_pass.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/staged_attack.h"

namespace hpm {

void require_images(const Tensor& index, const char* call) {
  require(index.defined() && index.numel() > 0,
          "{}: needs at least one image, but got none; give the numbers of images that the data set has", call);
}

FreshVerdict verify_model(AttackModel& model, const Images& images) {
  torch::NoGradGuard guard;
  const auto ask = [&](const Images& rows) { return model.ask({rows.x, rows.index}, nullptr).target_logits; };
  if (!model.random()) return verify_rows(images, ask);
  const auto logits = ask(images);
  const auto wrong = logits.argmax(1).ne(images.y).to(at::kCPU);
  return {wrong, at::zeros_like(wrong), logits};
}

std::string leading_name(const Defence& defence) {
  if (defence.targets().front().name.empty()) return {};
  const auto leading = leading_surrogate(defence, 0);
  return leading ? leading->name : "";
}

std::vector<Tensor> batch_places(const Defence& defence, const ImageSet& images) {
  const auto place = at::full({images.index.max().item<int64_t>() + 1}, -1, at::kLong);
  place.index_copy_(0, images.index, at::arange(images.size()));
  std::vector<Tensor> all;
  for (const auto& batch : defence.batches()) all.push_back(place.index_select(0, batch));
  return all;
}

Tensor rows_that_differ(const Tensor& a, const Tensor& b, double share) {
  const auto range = (a.amax(1) - a.amin(1)).clamp_min(1e-30);
  return (a - b).abs().amax(1).le(share * range).logical_not();
}

CleanVerdict clean_verdict(Defence& defence, size_t target, const ImageSet& images, int64_t batch_size,
                           const WorkLog& log) {
  require_images(images.index, "clean_verdict");
  ContextOutcome context{.context = defence.targets()[target].name};
  const auto model = defence.attack_model(target);
  const bool whole = defence.targets()[target].coupling == Coupling::batch;
  const auto pass = [&](const Images& batch) -> NamedTensors {
    if (whole) {
      torch::NoGradGuard guard;
      const auto logits = predict_once(defence, {batch.x, batch.index}, target);
      return {{"logits", logits}, {"close", at::zeros({batch.size()}, at::kBool)}};
    }
    const auto verdict = verify_model(*model, batch);
    return {{"logits", verdict.logits}, {"close", verdict.close}};
  };
  const auto kept =
      kept_pass(model->random() ? WorkLog() : log, fmt::format("clean verdicts/{}", target), images,
                whole ? batch_places(defence, images) : consecutive_batches(images.size(), batch_size), pass);
  const auto close = find_tensor(kept, "close");
  context.clean_logits = find_tensor(kept, "logits").to(images.y.device());
  context.clean_prediction = context.clean_logits.argmax(1).to(at::kCPU);
  context.clean_correct = context.clean_prediction.eq(images.y.to(at::kCPU));
  context.robust = context.clean_correct.clone();
  return {std::move(context), close};
}

Tensor predict_logits(Defence& defence, size_t target, const ImageSet& images, int64_t batch_size) {
  require_images(images.index, "predict_logits");
  torch::NoGradGuard guard;
  if (defence.targets().at(target).coupling == Coupling::rows) {
    std::vector<Tensor> logits;
    for_chunks(images, batch_size, [&](const Images& chunk, int64_t) {
      logits.push_back(predict_once(defence, {chunk.x, chunk.index}, target));
    });
    return at::cat(logits);
  }
  Tensor all;
  for (const auto& rows : batch_places(defence, images)) {
    const auto batch = images.select(rows);
    const auto logits = predict_once(defence, {batch.x, batch.index}, target);
    if (!all.defined()) all = at::zeros({images.size(), logits.size(1)}, logits.options());
    all.index_copy_(0, rows.to(logits.device()), logits);
  }
  return all;
}

Evaluation evaluate_clean(Defence& defence, const ImageSet& images, int64_t batch_size, const WorkLog& log) {
  const WorkTimer timer(log);
  Evaluation out;
  auto close = at::zeros({images.size()}, at::kBool);
  for (size_t t = 0; t < defence.targets().size(); ++t) {
    if (defence.targets()[t].beside) continue;
    auto verdict = clean_verdict(defence, t, images, batch_size, log);
    out.contexts.push_back(std::move(verdict.context));
    close = close | verdict.close;
  }
  out.borderline = close.sum().item<int64_t>();
  out.seconds = timer.seconds();
  return out;
}

Evaluation evaluate_pgd(Defence& defence, const AttackedImages& on, const PgdOptions& options,
                        const Computing& computing, const Work& work) {
  StagedAttack staged(defence, on, computing, work);
  staged.begin();
  staged.attack("pgd", ready(options), staged.survivors());
  return staged.finish();
}

Evaluation evaluate_autoattack(Defence& defence, const AttackedImages& on, const AutoAttackOptions& options,
                               const Work& work) {
  const WorkTimer timer(work.log);
  const auto attacked = defence.attack_model(0);
  require(attacked->coupling() == Coupling::rows,
          "evaluate: AutoAttack needs independent rows, and in the context joint a batch is one object; use --protocol "
          "msa");
  auto result = autoattack(*attacked, on.images, on.threat, options, work.monitor, work.log);
  const auto worst = percent(result.worst_draw & result.robust());
  auto out = evaluation_of(std::move(result), defence.targets().front().name, leading_name(defence));
  if (attacked->random()) out.worst_draw_accuracy = worst;
  out.seconds = timer.seconds();
  return out;
}

}  // namespace hpm
