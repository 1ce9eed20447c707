#include <torch/torch.h>

#include "hpm/core/device.h"
#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

/// The rows on which a verdict is within 1e-4 of the logits' range of a tie.
Tensor near_ties(const Tensor& logits, const Tensor& y) {
  return margin(logits, y).abs() < 1e-4 * (logits.amax(1) - logits.amin(1));
}

/// One context of the row-wise half.
class RowContext {
 public:
  RowContext(const MsaRun& run, Judge& judge, size_t target) : run_(run), judge_(judge), target_(target) {
    const auto& context = judge.targets()[target].context;
    const auto& head = *run.model.head;
    const auto logits = prediction_logits(head, context, run.clean.z, run.clean.o, run.images.index);
    scale_l_ = logits.std().item<double>();
    result_.context = to_string(context.kind);
    result_.clean_prediction = logits.argmax(1);
    result_.clean_correct = result_.clean_prediction.eq(run.images.y);
  }

  ContextOutcome operator()(bool first) {
    const auto& head = *run_.model.head;
    const auto kind = judge_.targets()[target_].context.kind;
    if (first) run_.out.broken_by.assign(static_cast<size_t>(run_.images.size()), "");
    for (const auto& step : msa_plan(run_.options, run_.threat.norm, head.classes(), true)) {
      SurrogateOutcome result{.name = step.surrogate, .same_as = coincides_with(step.surrogate, head, kind),
                             .unavailable = unavailable(step.surrogate, kind, run_.peers)};
      if (result.same_as.empty() && result.unavailable.empty()) attack(step, result, first);
      result_.surrogates.push_back(std::move(result));
    }
    confirm(first);
    return std::move(result_);
  }

 private:
  Tensor standing() const { return result_.clean_correct & judge_.broken(target_).logical_not(); }

  void attack(const MsaStep& step, SurrogateOutcome& result, bool first) {
    const bool all = run_.options.full_matrix || step.surrogate == "ste";
    const auto given = all ? result_.clean_correct : standing();
    const auto before = standing();
    HpmAttackModel attacked(run_.model, judge_.targets()[target_], find_surrogate(step.surrogate), run_.peers, &judge_);
    attacked.set_scales(run_.scale_o, scale_l_);
    auto unbroken = given.clone();  // by this surrogate
    for (const auto& spec : step.attacks) {
      const auto start = std::chrono::steady_clock::now();
      const auto passes = attacked.passes();
      const auto already = standing();
      const auto broken = attack_rows(attacked, step, spec, unbroken);
      AttackRecord record{spec.name, step.surrogate, result_.context, standing(), attacked.passes() - passes};
      record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      record.matrix = unbroken.to(at::kChar) + broken.to(at::kChar);
      run_.out.attacks.push_back(std::move(record));
      unbroken = unbroken & broken.logical_not();
      if (first) note_first(already & standing().logical_not(), step.surrogate + "/" + spec.name);
    }
    result.of = given.sum().item<int64_t>();
    result.broke = result.of - unbroken.sum().item<int64_t>();
    result.first = (before & standing().logical_not()).sum().item<int64_t>();
    result.complete = all || at::equal(given, result_.clean_correct);
    if (result.complete) result.accuracy = percent(unbroken);
    if (step.surrogate == "ste") result_.ste_accuracy = result.accuracy;
  }

  /// Attacks the rows of `left` [n]; which of them broke, [n].
  Tensor attack_rows(HpmAttackModel& attacked, const MsaStep& step, const AttackSpec& spec, const Tensor& left) {
    const auto rows = left.nonzero().squeeze(1);
    auto broken = at::zeros_like(left);
    run_.monitor.begin(fmt::format("{} {}/{}", result_.context, step.surrogate, spec.name), rows.numel(), "images");
    const auto streams = streams_of(run_.options, step.surrogate);
    for_chunks(run_.images.select(rows), run_.options.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto found = run_attack(attacked, chunk, run_.threat, spec, streams, run_.monitor);
      const auto hits = found.broken.nonzero().squeeze(1);
      broken.index_fill_(0, rows.slice(0, begin, begin + chunk.size()).index_select(0, hits), true);
      run_.monitor.step(begin + chunk.size(), fmt::format("survivors {}", standing().sum().item<int64_t>()));
    });
    run_.monitor.end();
    return broken;
  }

  void note_first(const Tensor& fresh, const std::string& by) {
    const auto rows = fresh.nonzero().squeeze(1);
    for (int64_t i = 0; i < rows.numel(); ++i) {
      auto& name = run_.out.broken_by[static_cast<size_t>(rows[i].item<int64_t>())];
      if (name.empty()) name = by;
    }
  }

  Tensor target_logits(const Images& images) {
    torch::NoGradGuard guard;
    const auto out = run_.model.run(images.x);
    return prediction_logits(*run_.model.head, judge_.targets()[target_].context, out.features, out.logits, images.index);
  }

  /// Every broken image is judged again by a fresh pass over the image kept; near a tie, alone, padded to 16 rows, on one
  /// thread. An image whose break does not stand counts as robust.
  void confirm(bool first) {
    const auto broken = result_.clean_correct & judge_.broken(target_);
    const auto rows = broken.nonzero().squeeze(1);
    auto stands = at::zeros_like(broken);
    const auto adversarial = rows.numel() > 0 ? judge_.images(target_).index_select(0, rows) : run_.images.x.slice(0, 0, 0);
    const auto originals = run_.images.select(rows);
    for_chunks({adversarial, originals.y, originals.index}, run_.options.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto logits = target_logits(chunk);
      auto wrong = logits.argmax(1).ne(chunk.y);
      const auto close = near_ties(logits, chunk.y).nonzero().squeeze(1);
      for (int64_t i = 0; i < close.numel(); ++i) {
        const ScopedThreads one(1);
        const auto row = close[i].item<int64_t>();
        const auto alone = chunk.select(at::full({16}, row, at::kLong));
        wrong[row] = target_logits(alone).argmax(1)[0].ne(chunk.y[row]);
        ++run_.out.borderline;
      }
      stands.index_copy_(0, rows.slice(0, begin, begin + chunk.size()), wrong);
    });
    const auto fallen = broken & stands.logical_not();
    for (auto& record : run_.out.attacks)
      if (record.context == result_.context) record.robust = record.robust | fallen;
    result_.robust = result_.clean_correct & stands.logical_not();
    if (!first) return;
    run_.out.adversarial = run_.images.x.clone();
    const auto kept = stands.nonzero().squeeze(1);
    if (kept.numel() > 0) run_.out.adversarial.index_copy_(0, kept, judge_.images(target_).index_select(0, kept));
  }

  const MsaRun& run_;
  Judge& judge_;
  size_t target_;
  double scale_l_ = 1;
  ContextOutcome result_;
};

}  // namespace

void msa_rows(const MsaRun& run, const std::vector<ContextKind>& kinds) {
  std::vector<JudgedTarget> targets;
  for (auto kind : kinds) targets.push_back({{kind, run.company}, std::nullopt});
  Judge judge(run.images.index, run.images.y, targets);
  for (size_t t = 0; t < kinds.size(); ++t) {
    // With lambda = 1 nothing is dynamic: every context is the l2 classifier.
    if (t > 0 && run.model.head->lambda == 1) {
      auto same = run.out.contexts.front();
      same.context = to_string(kinds[t]);
      for (auto& surrogate : same.surrogates)
        if (surrogate.unavailable.empty()) surrogate = {.name = surrogate.name, .same_as = surrogate.name + " in " + run.out.contexts.front().context};
      run.out.contexts.push_back(std::move(same));
      continue;
    }
    auto result = RowContext(run, judge, t)(run.out.contexts.empty());
    run.out.contexts.push_back(std::move(result));
  }
}

}  // namespace hpm
