#include "hpm/evaluation/protocols.h"

#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {
namespace {

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ContextOutcome clean_context(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size) {
  ContextOutcome context{.context = subject.context_name()};
  context.clean_prediction = predict_logits(subject, images, batch_size).argmax(1).to(at::kCPU);
  context.clean_correct = context.clean_prediction.eq(images.y.to(at::kCPU));
  context.robust = context.clean_correct;
  return context;
}

}  // namespace

std::unique_ptr<AttackModel> ProtocolSubject::attack_model(const std::string& surrogate) const {
  if (!model.head) return std::make_unique<ClassifierModel>(model.classifier, random);
  return std::make_unique<HpmAttackModel>(model, JudgedTarget{context, std::nullopt}, find_surrogate(surrogate));
}

Context make_context(const HpmModel& model, const std::string& name, const ImageSet& images, int64_t company_size,
                     uint64_t company_seed, int64_t batch_size) {
  Context context{parse_context(name), nullptr};
  if (!model.head || context.kind == ContextKind::reference || context.kind == ContextKind::alone) return context;
  const auto clean = clean_pass(model, images, batch_size);
  context.company = std::make_shared<Company>(*model.head, images.index, clean.z, clean.o, company_size, company_seed);
  if (context.kind == ContextKind::solo_eot)
    context.draws = draw_companies(*model.head, images.index, clean.z, clean.o, company_size, company_seed);
  return context;
}

Tensor predict_logits(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size) {
  torch::NoGradGuard guard;
  const auto attacked = subject.attack_model();
  if (attacked->coupling() == Coupling::batch) {
    Tensor all;
    const auto position = at::full({images.index.max().item<int64_t>() + 1}, -1, at::kLong);
    position.index_copy_(0, images.index, at::arange(images.size()));
    for (const auto& index : subject.context.company->batches()) {
      const auto rows = position.index_select(0, index);
      const auto logits = attacked->ask({images.select(rows).x, index}, nullptr).target_logits;
      if (!all.defined()) all = at::zeros({images.size(), logits.size(1)}, logits.options());
      all.index_copy_(0, rows.to(logits.device()), logits);
    }
    return all;
  }
  std::vector<Tensor> logits;
  for_chunks(images, batch_size, [&](const Images& chunk, int64_t) {
    logits.push_back(attacked->ask({chunk.x, chunk.index}, nullptr).target_logits);
  });
  return at::cat(logits);
}

Evaluation evaluate_clean(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation out;
  out.contexts.push_back(clean_context(subject, images, batch_size));
  out.seconds = since(start);
  return out;
}

Evaluation evaluate_pgd(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                        const PgdOptions& options, uint64_t seed, int64_t batch_size, Monitor& monitor,
                        const WorkLog& log) {
  const auto start = std::chrono::steady_clock::now();
  Evaluation out;
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows,
          "evaluate: the context joint needs --protocol msa, which attacks batches as a whole");
  auto context = clean_context(subject, images, batch_size);
  context.robust = context.clean_correct.clone();
  AttackRecord record{"pgd", subject.model.head ? "ste" : "", context.context};
  out.adversarial = ImageStore(images);
  out.broken_by.resize(static_cast<size_t>(images.size()));
  // Images that were wrong already stay as they are; a verdict is a fresh pass.
  const auto right = context.clean_correct.nonzero().squeeze(1);
  monitor.begin("pgd", right.numel(), "images");
  for_chunks(images.subset(right), batch_size, [&](const Images& chunk, int64_t begin) {
    const auto rows = right.slice(0, begin, begin + chunk.size());
    const auto done = log.once(fmt::format("pgd/{}", begin), rows, [&] {
      const auto before = attacked->passes();
      const auto begun = std::chrono::steady_clock::now();
      const auto found = pgd(*attacked, chunk, threat, options, RandomStreams(seed), monitor);
      const auto wrong =
          attacked->ask({found.images, chunk.index}, nullptr).target_logits.argmax(1).ne(chunk.y) & found.broken;
      NamedTensors all{{"broken", wrong.to(at::kCPU)},
                       {"images", found.images.index_select(0, wrong.nonzero().squeeze(1))}};
      write_cost(attacked->passes() - before, since(begun), all);
      return all;
    });
    add_cost(done, record.passes, record.seconds);
    const auto places = rows.index_select(0, find_tensor(done, "broken").nonzero().squeeze(1));
    out.adversarial.put(places, find_tensor(done, "images"));
    context.robust.index_fill_(0, places, false);
    for (int64_t i = 0; i < places.numel(); ++i) out.broken_by[static_cast<size_t>(places[i].item<int64_t>())] = "pgd";
    monitor.step(begin + chunk.size(), fmt::format("survivors {}", context.robust.sum().item<int64_t>()));
  });
  monitor.end();
  record.robust = context.robust;
  out.attacks.push_back(std::move(record));
  out.contexts.push_back(std::move(context));
  out.seconds = since(start);
  return out;
}

Evaluation evaluate_autoattack(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                               const AutoAttackOptions& options, Monitor& monitor, const WorkLog& log) {
  const auto start = std::chrono::steady_clock::now();
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows,
          "evaluate: AutoAttack needs independent rows, and in the context joint a batch is one object; use --protocol "
          "msa");
  auto result = autoattack(*attacked, images, threat, options, monitor, log);
  const auto worst = percent(result.worst_draw & result.robust());
  auto out = evaluation_of(std::move(result), subject.context_name(), subject.model.head ? "ste" : "");
  if (attacked->random()) out.worst_draw_accuracy = worst;
  out.seconds = since(start);
  return out;
}

}  // namespace hpm
