#include "hpm/evaluation/msa/msa.h"

#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/evaluation/fast/fast.h"
#include "hpm/evaluation/msa/msa_impl.h"
#include "hpm/models/operations.h"

namespace hpm {

SurrogateOutcome outcome_of(const PlannedStep& step) {
  const auto& s = step.surrogate;
  return {.name = s.name,
          .same_as = step.same_as,
          .unavailable = s.unavailable,
          .needs = s.needs,
          .summary = s.summary,
          .kind = s.kind,
          .leads = s.leads,
          .checked = s.checked};
}

void add_outcome(SurrogateOutcome outcome, std::vector<SurrogateOutcome>& all) {
  const auto before = std::find_if(all.begin(), all.end(), [&](const auto& o) { return o.name == outcome.name; });
  if (before == all.end()) return all.push_back(std::move(outcome));
  if (!outcome.same_as.empty() || !outcome.unavailable.empty()) return;  // it did not attack again
  outcome.first += before->first;
  *before = std::move(outcome);
}

NamedTensors observed_attack(const MsaRun& run, const AttackModel& attacked,
                             const std::function<NamedTensors()>& attack) {
  const auto start = std::chrono::steady_clock::now();
  const auto passes = attacked.passes();
  const auto targets = run.defence.targets().size();
  std::vector<Tensor> before;
  for (size_t t = 0; t < targets; ++t) before.push_back(run.observer.broken(t).clone());
  const auto new_breaks = [&](size_t t) {
    return (run.observer.broken(t) & before[t].logical_not()).nonzero().squeeze(1);
  };
  // A piece leaves no trace but what it returns: where another worker's counts in its place, both end in one state.
  const auto forget = [&] {
    for (size_t t = 0; t < targets; ++t) run.observer.forget(t, new_breaks(t));
  };
  NamedTensors done;
  try {
    done = attack();
  } catch (const Abandoned&) {
    forget();
    throw;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_cost(attacked.passes() - passes, seconds.count(), done);
  for (size_t t = 0; t < targets; ++t) {
    const auto places = new_breaks(t);
    if (places.numel() == 0) continue;
    done.emplace_back(fmt::format("places {}", t), places);
    done.emplace_back(fmt::format("broken by {}", t), run.observer.images(t).select(places));
  }
  forget();
  return done;
}

void replay(const MsaRun& run, const NamedTensors& done, AttackRecord& record) {
  add_cost(done, record.passes, record.seconds);
  for (size_t t = 0; t < run.defence.targets().size(); ++t)
    if (const auto places = find_tensor(done, fmt::format("places {}", t)); places.defined())
      run.observer.record(t, places, find_tensor(done, fmt::format("broken by {}", t)));
}

FreshVerdict verify(const MsaRun& run, size_t target, const ImageSet& images) {
  torch::NoGradGuard guard;
  const auto none = at::zeros({0}, at::kBool);
  std::vector<Tensor> wrong{none}, close{none}, logits, draws;
  const auto predict = [&](const Images& rows) {
    const auto pass = run.defence.run(rows.x);
    draws.clear();
    for (auto t : targets_beside(run.defence, target))
      if (run.target(t).draw) draws.push_back(run.defence.predict(pass, rows.index, t));
    return run.defence.predict(pass, rows.index, target);
  };
  for_chunks(images, run.options.batch_size, [&](const Images& chunk, int64_t) {
    const auto verdict = verify_rows(chunk, predict, &draws);
    run.borderline.index_fill_(0, run.observer.places(chunk.index.index({verdict.close})), true);
    wrong.push_back(verdict.wrong), close.push_back(verdict.close), logits.push_back(verdict.logits);
  });
  return {at::cat(wrong), at::cat(close), logits.empty() ? Tensor() : at::cat(logits)};
}

namespace {

/// The outcome of a target as that of another one which is the same function.
ContextOutcome under_another_name(ContextOutcome outcome, const std::string& name) {
  for (auto& surrogate : outcome.surrogates)
    if (surrogate.unavailable.empty())
      surrogate = {.name = surrogate.name,
                   .same_as = surrogate.name + " in " + outcome.context,
                   .summary = surrogate.summary,
                   .kind = surrogate.kind};
  outcome.context = name;
  return outcome;
}

/// Attacks the targets of independent rows, then the coupled ones; outcomes come in the order of the targets.
void attack_targets(MsaRun& run) {
  auto order = attacked_targets(run.defence);
  std::stable_partition(order.begin(), order.end(), [&](size_t t) { return run.target(t).coupling == Coupling::rows; });
  std::map<size_t, std::unique_ptr<TargetAttack>> attacks;
  for (auto t : order) {
    attacks[t] = (run.target(t).coupling == Coupling::rows ? attack_rows : attack_batches)(run, t);
    attacks[t]->begin();
  }
  for (auto t : order) attacks[t]->attack();
  if (run.options.version == "fast") {
    FastOutcome fast;
    for (auto t : order)
      for (auto& alarm : attacks[t]->alarms()) fast.alarms.push_back(std::move(alarm));
    if (!fast.fired().empty() && !run.options.alarms.no_escalate) {
      fast.escalated = true;
      run.options.version = "standard";
      run.log = run.log.below("escalated");
      for (auto t : order) attacks[t]->attack();
    }
    run.out.checks.push_back(alarms_check(fast));
    run.out.fast = std::move(fast);
  }
  std::map<size_t, TargetOutcome> outcomes;
  for (auto t : order) {
    outcomes[t] = attacks[t]->finish();
    auto& sweep = outcomes[t].sweep;
    std::move(sweep.begin(), sweep.end(), std::back_inserter(run.out.sweep));
  }
  for (size_t t = 0; t < run.defence.targets().size(); ++t) {
    if (run.target(t).beside) continue;
    const auto& same = run.target(t).same_as;
    run.out.contexts.push_back(same ? under_another_name(outcomes[*same].outcome, run.target(t).name)
                                    : outcomes[t].outcome);
  }
}

/// Refuses numbers of colluders that no batch has, and a defence of which nothing can attack part of a batch; warns
/// where no prediction depends on a neighbour.
void check_crowds(const Defence& defence, const MsaOptions& options, Monitor& monitor) {
  if (options.collusion.colluders.empty() && asked_malicious(options.benign).empty()) return;
  bool coupled = false;
  for (auto t : attacked_targets(defence)) {
    if (defence.targets()[t].coupling == Coupling::rows) continue;
    coupled = true;
    require(!crowd_surrogates(defence, t).empty(),
            "msa: colluders and malicious images need a surrogate of {} that can attack part of a batch, and the "
            "defence has none (no gradient, or a pass that does not treat rows independently); leave them out",
            defence.targets()[t].name);
  }
  if (!coupled)
    return monitor.warn("colluders, malicious: no prediction depends on a neighbour here; nothing is studied");
  check_colluders(options.collusion, largest_batch(defence));
  check_malicious(options.benign, largest_batch(defence));
}

}  // namespace

Evaluation msa(Defence& defence, const AttackedImages& on, const MsaOptions& options, const Work& work) {
  require(on.images.size() > 0, "msa: needs at least one image");
  require(std::get<0>(at::_unique(on.images.index)).numel() == on.images.size(),
          "msa: an image is given twice; each needs a number of its own");
  for (auto t : attacked_targets(defence))
    msa_plan(defence, t, on.threat.norm, options);  // bad options, before anything
  const WorkTimer timer(work.log);
  Evaluation out;
  for (const auto& note : few_classes_notes(defence, on.threat.norm, options)) {
    work.monitor.warn(note);
    out.notes.push_back(note);
  }
  check_crowds(defence, options, work.monitor);
  Observer observer(on.images, on.threat, defence);
  MsaRun run{defence,  on.images,    on.threat,
             options,  work.monitor, work.log,
             observer, out,          at::zeros({on.images.size()}, at::kBool)};
  attack_targets(run);
  out.borderline = run.borderline.sum().item<int64_t>();
  out.seconds = timer.seconds();
  return out;
}

}  // namespace hpm
