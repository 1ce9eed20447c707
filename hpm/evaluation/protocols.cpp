#include "hpm/evaluation/protocols.h"

#include <torch/torch.h>

#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {
namespace {

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ContextOutcome clean_context(const ProtocolSubject& subject, const Images& images, int64_t batch_size) {
  ContextOutcome context{.context = subject.context_name()};
  context.clean_prediction = predict_logits(subject, images, batch_size).argmax(1);
  context.clean_correct = context.clean_prediction.eq(images.y);
  context.robust = context.clean_correct;
  return context;
}

}  // namespace

std::unique_ptr<AttackModel> ProtocolSubject::attack_model() const {
  if (!model.head) return std::make_unique<ClassifierModel>(model.classifier, random);
  return std::make_unique<HpmAttackModel>(model, JudgedTarget{context, std::nullopt}, find_surrogate("ste"));
}

Context make_context(const HpmModel& model, const std::string& name, const Images& images, int64_t company_size,
                     uint64_t company_seed, int64_t batch_size) {
  Context context{parse_context(name), nullptr};
  if (!model.head || context.kind == ContextKind::reference || context.kind == ContextKind::alone) return context;
  const auto clean = clean_pass(model, images, batch_size);
  context.company = std::make_shared<Company>(*model.head, images.index, clean.z, clean.o, company_size, company_seed);
  return context;
}

Tensor predict_logits(const ProtocolSubject& subject, const Images& images, int64_t batch_size) {
  torch::NoGradGuard guard;
  const auto attacked = subject.attack_model();
  if (attacked->coupling() == Coupling::batch) {
    Tensor all;
    const auto position = at::full({images.index.max().item<int64_t>() + 1}, -1, at::kLong);
    position.index_copy_(0, images.index, at::arange(images.size()));
    for (const auto& index : subject.context.company->batches()) {
      const auto rows = position.index_select(0, index);
      const auto logits = attacked->ask({images.x.index_select(0, rows), index}, nullptr).target_logits;
      if (!all.defined()) all = at::zeros({images.size(), logits.size(1)}, logits.options());
      all.index_copy_(0, rows, logits);
    }
    return all;
  }
  std::vector<Tensor> logits;
  for_chunks(images, batch_size, [&](const Images& chunk, int64_t) { logits.push_back(attacked->ask({chunk.x, chunk.index}, nullptr).target_logits); });
  return at::cat(logits);
}

Evaluation evaluate_clean(const ProtocolSubject& subject, const Images& images, int64_t batch_size) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation out;
  const auto before = subject.model.classifier.passes();
  out.contexts.push_back(clean_context(subject, images, batch_size));
  out.seconds = since(start);
  out.passes = subject.model.classifier.passes() - before;
  return out;
}

Evaluation evaluate_pgd(const ProtocolSubject& subject, const Images& images, const ThreatModel& threat, const PgdOptions& options,
                        uint64_t seed, int64_t batch_size, Monitor& monitor) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation out;
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows, "evaluate: the context joint needs --protocol msa, which attacks batches as a whole");
  auto context = clean_context(subject, images, batch_size);
  const auto before = attacked->passes();
  out.adversarial = images.x.clone();
  monitor.begin("pgd", images.size(), "images");
  for_chunks(images, batch_size, [&](const Images& chunk, int64_t begin) {
    const auto found = pgd(*attacked, chunk, threat, options, RandomStreams(seed), monitor);
    // Images that were wrong already stay as they are; a verdict is a fresh pass.
    const auto right = context.clean_correct.slice(0, begin, begin + chunk.size());
    const auto wrong = attacked->ask({found.images, chunk.index}, nullptr).target_logits.argmax(1).ne(chunk.y) & found.broken & right;
    const auto rows = wrong.nonzero().squeeze(1);
    out.adversarial.index_copy_(0, rows + begin, found.images.index_select(0, rows));
    context.robust = context.robust.clone();
    context.robust.index_fill_(0, rows + begin, false);
    monitor.step(begin + chunk.size());
  });
  monitor.end();
  out.seconds = since(start);
  out.passes = attacked->passes() - before;
  out.attacks.push_back({"pgd", subject.model.head ? "ste" : "", context.context, context.robust, out.passes, out.seconds, {}});
  for (int64_t i = 0; i < images.size(); ++i)
    out.broken_by.push_back(context.clean_correct[i].item<bool>() && !context.robust[i].item<bool>() ? "pgd" : "");
  out.contexts.push_back(std::move(context));
  return out;
}

Evaluation evaluate_autoattack(const ProtocolSubject& subject, const Images& images, const ThreatModel& threat,
                               const AutoAttackOptions& options, Monitor& monitor) {
  const auto start = std::chrono::steady_clock::now();
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows,
          "evaluate: AutoAttack needs independent rows, and in the context joint a batch is one object; use --protocol msa");
  Evaluation out;
  auto context = clean_context(subject, images, options.batch_size);
  const auto before = attacked->passes();
  const auto result = autoattack(*attacked, images, threat, options, monitor);
  context.clean_correct = result.clean_correct;
  context.robust = result.robust();
  out.broken_by.assign(static_cast<size_t>(images.size()), "");
  auto previous = result.clean_correct;
  for (const auto& attack : result.attacks) {
    out.attacks.push_back({attack.spec.name, subject.model.head ? "ste" : "", context.context, attack.robust, attack.passes, attack.seconds, {}});
    const auto fresh = (previous & attack.robust.logical_not()).nonzero().squeeze(1);
    for (int64_t i = 0; i < fresh.numel(); ++i) out.broken_by[static_cast<size_t>(fresh[i].item<int64_t>())] = attack.spec.name;
    previous = attack.robust;
  }
  out.adversarial = result.adversarial;
  out.borderline = result.borderline;
  out.notes = result.notes;
  out.contexts.push_back(std::move(context));
  out.seconds = since(start);
  out.passes = attacked->passes() - before;
  return out;
}

}  // namespace hpm
