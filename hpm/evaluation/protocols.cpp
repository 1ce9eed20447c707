#include "hpm/evaluation/protocols.h"

#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"
#include "hpm/surrogates/hpm_attack_model.h"

namespace hpm {
namespace {

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Verdicts of independent rows from a fresh pass; a random model has no near ties that could be looked at again.
FreshVerdict judge_rows(AttackModel& model, const Images& images) {
  torch::NoGradGuard guard;
  const auto ask = [&](const Images& rows) { return model.ask({rows.x, rows.index}, nullptr).target_logits; };
  if (!model.random()) return judge_fresh(images, ask);
  const auto logits = ask(images);
  const auto wrong = logits.argmax(1).ne(images.y).to(at::kCPU);
  return {wrong, at::zeros_like(wrong), logits};
}

struct CleanVerdict {
  ContextOutcome context;
  Tensor close;  // [n] bool: nearly a tie, and judged again alone (in joint no row stands alone)
};

CleanVerdict clean_verdict(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size) {
  ContextOutcome context{.context = subject.context_name()};
  auto close = at::zeros({images.size()}, at::kBool);
  const auto model = subject.attack_model();
  std::vector<Tensor> logits;
  if (model->coupling() == Coupling::batch) {
    logits.push_back(predict_logits(subject, images, batch_size));
  } else {
    for_chunks(images, batch_size, [&](const Images& chunk, int64_t begin) {
      const auto verdict = judge_rows(*model, chunk);
      close.slice(0, begin, begin + chunk.size()).copy_(verdict.close);
      logits.push_back(verdict.logits);
    });
  }
  context.clean_prediction = at::cat(logits).argmax(1).to(at::kCPU);
  context.clean_correct = context.clean_prediction.eq(images.y.to(at::kCPU));
  context.robust = context.clean_correct;
  return {std::move(context), close};
}

}  // namespace

std::unique_ptr<AttackModel> ProtocolSubject::attack_model(const std::string& surrogate) const {
  if (!model.head) return std::make_unique<ClassifierModel>(model.classifier, random);
  return std::make_unique<HpmAttackModel>(model, JudgedTarget{context, std::nullopt}, find_surrogate(surrogate));
}

Context make_context(const HpmModel& model, const std::string& name, const ImageSet& images, int64_t company_size,
                     uint64_t company_seed, int64_t batch_size, const WorkLog& log) {
  Context context{parse_context(name), nullptr};
  if (!model.head || context.kind == ContextKind::reference || context.kind == ContextKind::alone) return context;
  const auto clean = clean_pass(model, images, batch_size, log);
  context.company = std::make_shared<Company>(*model.head, images.index, clean.z, clean.o, company_size, company_seed);
  if (context.kind == ContextKind::solo_eot)
    context.draws = draw_companies(*model.head, images.index, clean.z, clean.o, company_size, company_seed);
  return context;
}

std::vector<Tensor> batch_rows(const Company& company, const Tensor& index) {
  const auto position = at::full({index.max().item<int64_t>() + 1}, -1, at::kLong);
  position.index_copy_(0, index, at::arange(index.size(0)));
  std::vector<Tensor> all;
  for (const auto& batch : company.batches()) all.push_back(position.index_select(0, batch));
  return all;
}

Tensor predict_logits(const ProtocolSubject& subject, const ImageSet& images, int64_t batch_size) {
  torch::NoGradGuard guard;
  const auto attacked = subject.attack_model();
  if (attacked->coupling() == Coupling::batch) {
    Tensor all;
    for (const auto& rows : batch_rows(*subject.context.company, images.index)) {
      const auto batch = images.select(rows);
      const auto logits = attacked->ask({batch.x, batch.index}, nullptr).target_logits;
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
  auto [context, close] = clean_verdict(subject, images, batch_size);
  out.contexts.push_back(std::move(context));
  out.borderline = close.sum().item<int64_t>();
  out.seconds = since(start);
  return out;
}

Evaluation evaluate_pgd(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                        const PgdOptions& options, uint64_t seed, int64_t batch_size, Monitor& monitor,
                        const WorkLog& log) {
  const WorkTimer timer(log);
  Evaluation out;
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows,
          "evaluate: the context joint needs --protocol msa, which attacks batches as a whole");
  auto [context, close] = clean_verdict(subject, images, batch_size);
  context.robust = context.clean_correct.clone();
  AttackRecord record{"pgd", subject.model.head ? "ste" : "", context.context};
  context.adversarial = ImageStore(images);
  context.broken_by.resize(static_cast<size_t>(images.size()));
  // Images that were wrong already stay as they are; a verdict is a fresh pass.
  const auto right = context.clean_correct.nonzero().squeeze(1);
  monitor.begin("pgd", right.numel(), "images");
  for_chunks(images.subset(right), batch_size, [&](const Images& chunk, int64_t begin) {
    const auto rows = right.slice(0, begin, begin + chunk.size());
    const auto done = log.once(fmt::format("pgd/{}", begin), rows, [&] {
      const auto before = attacked->passes();
      const auto begun = std::chrono::steady_clock::now();
      const auto found = pgd(*attacked, chunk, threat, options, RandomStreams(seed), monitor);
      const auto verdict = judge_rows(*attacked, {found.images, chunk.y, chunk.index});
      const auto wrong = verdict.wrong & found.broken.to(at::kCPU);
      NamedTensors all{{"broken", wrong},
                       {"close", verdict.close},
                       {"images", found.images.index_select(0, wrong.nonzero().squeeze(1).to(chunk.y.device()))}};
      write_cost(attacked->passes() - before, since(begun), all);
      return all;
    });
    add_cost(done, record.passes, record.seconds);
    close.index_fill_(0, rows.index({find_tensor(done, "close")}), true);
    const auto places = rows.index_select(0, find_tensor(done, "broken").nonzero().squeeze(1));
    context.adversarial.put(places, find_tensor(done, "images"));
    context.robust.index_fill_(0, places, false);
    for (int64_t i = 0; i < places.numel(); ++i)
      context.broken_by[static_cast<size_t>(places[i].item<int64_t>())] = "pgd";
    monitor.step(begin + chunk.size(), fmt::format("survivors {}", context.robust.sum().item<int64_t>()));
  });
  monitor.end();
  out.borderline = close.sum().item<int64_t>();
  record.robust = context.robust.clone();  // a smaller radius may take from the outcome later
  out.attacks.push_back(std::move(record));
  out.contexts.push_back(std::move(context));
  out.seconds = timer.seconds();
  return out;
}

Evaluation evaluate_autoattack(const ProtocolSubject& subject, const ImageSet& images, const ThreatModel& threat,
                               const AutoAttackOptions& options, Monitor& monitor, const WorkLog& log) {
  const WorkTimer timer(log);
  const auto attacked = subject.attack_model();
  require(attacked->coupling() == Coupling::rows,
          "evaluate: AutoAttack needs independent rows, and in the context joint a batch is one object; use --protocol "
          "msa");
  auto result = autoattack(*attacked, images, threat, options, monitor, log);
  const auto worst = percent(result.worst_draw & result.robust());
  auto out = evaluation_of(std::move(result), subject.context_name(), subject.model.head ? "ste" : "");
  if (attacked->random()) out.worst_draw_accuracy = worst;
  out.seconds = timer.seconds();
  return out;
}

}  // namespace hpm
