#include <algorithm>

#include "hpm/evaluation/checks/binarisation.h"
#include "hpm/evaluation/msa/msa_impl.h"
#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

constexpr int64_t kTested = 64;  // images

PlantedAttack planted(Surrogate surrogate, const std::string& words, const ReadyAttack& attack,
                      const ThreatModel& threat, uint64_t seed) {
  return {std::move(surrogate), words,
          [attack, threat, seed](AttackModel& model, const Images& images) {
            return attack.run(model, images, threat, RandomStreams(seed), silent());
          },
          attack.budget.passes};
}

/// An attack of the table, as a protocol runs it.
PlantedAttack planted(Surrogate surrogate, const AttackSpec& spec, const ThreatModel& threat, uint64_t seed) {
  const auto& entry = attack_entry(spec.name);
  const auto words = entry.queries ? fmt::format("{} with {} queries", spec.name, spec.queries)
                                   : fmt::format("{} with {} steps and {} start{}", spec.name, spec.steps,
                                                 spec.restarts, spec.restarts == 1 ? "" : "s");
  return planted(std::move(surrogate), words, ready(spec), threat, seed);
}

/// The first attack of the protocol on each surrogate that has logits from the defence's own images.
std::vector<PlantedAttack> attacks_in_use(const Defence& defence, const ThreatModel& threat,
                                          const EvaluationOptions& options) {
  std::vector<PlantedAttack> all;
  if (options.is("msa")) {
    for (const auto& step : msa_plan(defence, 0, threat.norm, options.for_msa()))
      if (step.runs() && step.surrogate.kind == SurrogateKind::white_box && step.surrogate.logits)
        all.push_back(planted(step.surrogate, step.attacks.front(), threat, options.seed));
    return all;
  }
  const auto leading = leading_surrogate(defence, 0);
  if (!leading || !leading->logits || !leading->unavailable.empty()) return all;
  if (options.is("pgd")) {
    const auto pgd = options.for_pgd();
    return {planted(*leading, fmt::format("pgd with {} steps", pgd.steps), ready(pgd), threat, options.seed)};
  }
  if (options.is("fast")) {
    const auto& core = attack_entry("relaxation");
    all.push_back(
        planted(*leading, {.name = core.name, .steps = core.steps, .restarts = core.restarts}, threat, options.seed));
    return all;
  }
  const auto sequence = sequence_of(options.for_autoattack(), threat.norm, defence.classes());
  all.push_back(planted(*leading, sequence.attacks.front(), threat, options.seed));
  return all;
}

CheckOutcome not_run(const std::string& context, const char* why) {
  CheckOutcome check{.name = "binarisation self-test"};
  check.detail = why, check.context = context;
  return check;
}

}  // namespace

void self_test(const Examined& examined, Evaluation& evaluation) {
  const auto& [subject, defence, on, options, work] = examined;
  if (options.self_test == "none" || on.threat.eps == 0) return;
  const auto& target = defence.targets().front();
  auto& checks = evaluation.checks;
  if (target.coupling == Coupling::batch) {
    checks.push_back(not_run(target.name, "it looks at single images: another context first"));
    return;
  }
  const auto attacks = attacks_in_use(defence, on.threat, options);
  if (attacks.empty() || !subject.differentiable) {
    checks.push_back(not_run(target.name, "no attack follows the model's own gradient"));
    return;
  }
  const auto images = on.images.slice(0, std::min(on.images.size(), kTested));
  work.monitor.say("self-test: binarisation");
  SelfTestOutcome fresh;
  const auto done = work.log.once("self-test", images.index, [&]() -> NamedTensors {
    fresh = test_binarisation(defence, 0, {images, on.threat}, attacks,
                              {.seed = options.seed, .batch_size = options.compute.batch_size});
    return {
        {"counts", torch::tensor({fresh.solved, fresh.random, fresh.found, int64_t{fresh.on_features}}, at::kLong)}};
  });
  const auto counts = find_tensor(done, "counts");
  const auto count = [&](int64_t i) { return counts[i].item<int64_t>(); };
  SelfTestOutcome outcome{target.name, in_words(attacks), count(3) == 1};
  outcome.images = images.size(), outcome.votes = options.random;
  outcome.solved = count(0), outcome.random = count(1), outcome.found = count(2);
  checks.push_back(binarisation_check(outcome));
  evaluation.self_test = outcome;
}

Passes self_test_passes(const Defence& defence, Norm norm, const EvaluationOptions& options, int64_t n) {
  if (options.self_test == "none" || defence.targets().front().coupling == Coupling::batch) return {};
  Passes each{binarisation_passes({}), 0};
  for (const auto& attack : attacks_in_use(defence, {norm, 0}, options))
    each += attack.passes + Passes{2, 0};  // the originals, and the verdict
  return each * std::min(n, kTested);
}

}  // namespace hpm
