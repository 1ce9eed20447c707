#include "hpm/evaluation/msa/plan.h"

#include <algorithm>
#include <map>

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/fast/alarms.h"

namespace hpm {
namespace {

SurrogateSelection selection_of(const MsaOptions& options, Coupling coupling) {
  const bool joint = coupling == Coupling::batch && !options.joint_surrogates.empty();
  return {joint ? options.joint_surrogates : options.surrogates, {}, options.version == "quick"};
}

std::vector<AttackSpec> quick_attacks(SurrogateKind kind, Norm norm, int64_t classes) {
  const bool l1 = norm == Norm::l1;
  switch (kind) {
    case SurrogateKind::objective: return {{.name = "apgd-own", .steps = 50, .targets = 3}};
    case SurrogateKind::query: return {{.name = "square", .queries = 1000}};
    case SurrogateKind::decision: return {{.name = "rays", .queries = 1000}};
    case SurrogateKind::transfer: return {{.name = "apgd-ce", .steps = 50, .large_radius = l1}};
    default: break;
  }
  const auto targets = std::min<int64_t>(3, classes - 1);
  return {{.name = "apgd-ce", .steps = 50, .large_radius = l1},
          {.name = "apgd-dlr", .steps = 50, .large_radius = l1},
          {.name = "apgd-t", .steps = 50, .targets = targets, .large_radius = l1}};
}

/// The core of the protocol fast on every surrogate. Square has its turn with the alarms.
std::vector<AttackSpec> fast_attacks(SurrogateKind kind, Norm norm, int64_t classes) {
  if (kind != SurrogateKind::white_box) return quick_attacks(kind, norm, classes);
  const auto& core = attack_entry("relaxation");
  return {{.name = core.name, .steps = core.steps, .restarts = core.restarts}};
}

/// AutoAttack's attacks on every surrogate; Square is the query surrogate's, for no other one changes what it sees.
std::vector<AttackSpec> standard_attacks(SurrogateKind kind, Norm norm, int64_t classes, int64_t factor) {
  if (kind == SurrogateKind::objective)
    return {{.name = "apgd-own", .steps = 100, .restarts = factor, .targets = std::min<int64_t>(4, classes)}};
  if (kind == SurrogateKind::decision) return {{.name = "rays"}};
  const auto sequence = autoattack_sequence({.version = "standard", .norm = norm, .classes = classes}).attacks;
  std::vector<AttackSpec> attacks;
  for (auto spec : sequence) {
    if (attack_entry(spec.name).queries != (kind == SurrogateKind::query)) continue;
    if (attack_entry(spec.name).repeats) spec.restarts *= factor;
    attacks.push_back(spec);
  }
  return attacks;
}

bool repeats(const AttackSpec& spec) { return attack_entry(spec.name).repeats; }

/// A surrogate's own attacks, in one start each, with the settings that the user replaced.
std::vector<AttackSpec> attacks_of(const MsaOptions& options, SurrogateKind kind, Norm norm, int64_t classes) {
  auto attacks = options.version == "fast" ? fast_attacks(kind, norm, classes)
                 : options.version == "quick"
                     ? quick_attacks(kind, norm, classes)
                     : standard_attacks(kind, norm, classes, options.version == "plus" ? 5 : 1);
  for (auto& spec : attacks) {
    if (repeats(spec)) spec.restarts *= options.settings.restarts.value_or(1);
    spec.steps = options.settings.steps.value_or(spec.steps);
    spec.queries = options.settings.queries.value_or(spec.queries);
  }
  return attacks;
}

/// GMSA: so many models are attacked together in the end, each round from one start.
std::vector<AttackSpec> rounds_of(const MsaOptions& options) {
  const int64_t rounds = options.version == "standard" || options.version == "plus" ? 5 : 3;
  return {{.name = "apgd-ce",
           .steps = options.settings.steps.value_or(50),
           .restarts = rounds * options.settings.restarts.value_or(1)}};
}

/// The restarts of a surrogate that gives the same logits as `running` become its.
void add_restarts(PlannedStep& running, const std::vector<AttackSpec>& twin) {
  for (auto& spec : running.attacks) {
    if (!repeats(spec)) continue;
    const auto same = std::find_if(twin.begin(), twin.end(), [&](const auto& t) { return t.name == spec.name; });
    spec.restarts += (same != twin.end() ? *same : twin.front()).restarts;  // an objective has an attack of its own
  }
}

/// Gives the white-box surrogates that run together as many starts of each attack as `starts` surrogates have. Where
/// one of them has the exact gradient, all of these starts are its.
void give_starts(int64_t starts, const std::vector<AttackSpec>& of_one, std::vector<PlannedStep>& steps) {
  const auto white_box = [](const PlannedStep& s) { return s.runs() && s.surrogate.kind == SurrogateKind::white_box; };
  const bool exact =
      std::any_of(steps.begin(), steps.end(), [&](const auto& s) { return white_box(s) && s.surrogate.exact; });
  for (const auto& wanted : of_one) {
    if (!repeats(wanted)) continue;
    int64_t given = 0;
    std::vector<AttackSpec*> running;
    for (auto& step : steps)
      for (auto& spec : step.attacks)
        if (white_box(step) && (!exact || step.surrogate.exact) && spec.name == wanted.name)
          given += spec.restarts, running.push_back(&spec);
    for (size_t i = 0; !running.empty() && given < starts * wanted.restarts; ++i, ++given)
      ++running[i % running.size()]->restarts;
  }
}

}  // namespace

void fields(Fields& f, MsaOptions& o) {
  f.add("surrogates", o.surrogates, "surrogates of msa (none: the version's)");
  f.add("joint-surrogates", o.joint_surrogates, "surrogates of the context joint (none: the same)");
  f.add("full-matrix", o.full_matrix, "every surrogate on every correct image, not the survivors alone");
  fields(f, o.collusion);
  fields(f, o.benign);
}

std::vector<std::string> msa_contexts(const std::vector<std::string>& asked, const std::string& version) {
  auto all = asked;
  const auto has = [&](const char* name) { return std::find(all.begin(), all.end(), name) != all.end(); };
  if (version == "plus" && has("solo") && !has("solo-eot")) all.push_back("solo-eot");
  return all;
}

std::vector<std::string> few_classes_notes(const Defence& defence, Norm norm, const MsaOptions& options) {
  std::vector<std::string> notes;
  const auto classes = defence.classes();
  for (auto t : attacked_targets(defence))
    for (const auto& step : msa_plan(defence, t, norm, options))
      for (const auto& spec : step.attacks) {
        const auto& entry = attack_entry(spec.name);
        if (!step.runs() || entry.classes <= classes) continue;
        auto note = fmt::format("{} uses the difference of two logits: its ratio needs {} classes, the model has {}",
                                spec.name, entry.classes, classes);
        if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(std::move(note));
      }
  return notes;
}

uint64_t seed_of(const MsaOptions& options, const std::string& surrogate, const std::string& target) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (const unsigned char c : surrogate + "\n" + target) hash = (hash ^ c) * 0x100000001b3ull;
  return options.seed + hash;
}

std::vector<PlannedStep> msa_plan(const Defence& defence, size_t target, Norm norm, const MsaOptions& options) {
  const std::vector<std::string> known{"fast", "quick", "standard", "plus"};
  require(std::find(known.begin(), known.end(), options.version) != known.end(),
          "msa: version needs to be fast, quick, standard or plus, but got \"{}\"", options.version);
  const auto times = options.settings.restarts.value_or(1);
  require(times >= 1, "msa: needs at least 1 times the version's starts, but got {}", times);
  const auto& attacked = defence.targets().at(target);
  const auto selection = selection_of(options, attacked.coupling);
  std::vector<PlannedStep> steps;
  std::map<std::string, size_t> first;  // of those that give the same logits, by the name that they have in common
  std::vector<std::string> names;
  for (auto& surrogate : defence.surrogates(target, selection)) {
    PlannedStep step{std::move(surrogate), {}, {}};
    const auto& s = step.surrogate;
    const bool slow = s.kind == SurrogateKind::query || s.adapt;
    if (options.version == "fast" && slow && selection.names.empty()) continue;
    names.push_back(s.name);
    step.attacks = s.adapt ? rounds_of(options) : attacks_of(options, s.kind, norm, defence.classes());
    const auto [found, is_first] = first.try_emplace(s.same_as.empty() ? s.name : s.same_as, steps.size());
    if (s.unavailable.empty() && !is_first) {
      step.same_as = steps[found->second].surrogate.name;
      add_restarts(steps[found->second], step.attacks);
    }
    steps.push_back(std::move(step));
  }
  // The budget is that of the surrogates asked for in contexts of rows, as a model without a defence gets it.
  give_starts(defence.starts(selection_of(options, Coupling::rows)),
              attacks_of(options, SurrogateKind::white_box, norm, defence.classes()), steps);
  require(std::any_of(steps.begin(), steps.end(), [](const auto& step) { return step.runs(); }),
          "msa: none of the surrogates {} can attack {} here; name others, or give --base or --control",
          fmt::join(names, ","), attacked.name.empty() ? "the model" : "the context " + attacked.name);
  return steps;
}

namespace {

/// Of the version fast: alarms in each target, and what follows one.
void add_alarms(const Defence& defence, Norm norm, const MsaOptions& options, size_t targets, Passes& total) {
  const auto add = [&](const Passes& passes, int64_t times) {
    total.forward += passes.forward * times, total.backward += passes.backward * times;
  };
  const auto times = static_cast<int64_t>(targets);
  add(gradient_alarm_passes(1), times);
  for (const char* name : {"fab-t", "square"}) add(passes_of(autoattack_spec(name, norm, defence.classes())), times);
  if (options.alarms.no_escalate) return;
  auto harder = options;
  harder.version = "standard";
  add(msa_passes(defence, norm, harder), 1);
}

}  // namespace

Passes msa_passes(const Defence& defence, Norm norm, const MsaOptions& options) {
  const auto attacked = attacked_targets(defence);
  const auto judged = static_cast<int64_t>(defence.targets().size());
  Passes total{defence.targets().front().name.empty() ? 0 : 1, 0};  // the clean pass that companies are made from
  for (auto t : attacked) {
    const bool batch = defence.targets()[t].coupling == Coupling::batch;
    for (const auto& step : msa_plan(defence, t, norm, options)) {
      if (!step.runs()) continue;
      // A surrogate whose logits are the target's ranks the classes as the target does.
      const bool own_logits = step.surrogate.exact && defence.targets()[t].name.empty();
      const SurrogateRanking ranking{!own_logits && step.surrogate.logits != nullptr,
                                     batch ? Coupling::batch : Coupling::rows, defence.classes()};
      for (const auto& spec : step.attacks) {
        const auto passes = passes_of(spec, ranking);
        // What a surrogate takes for a gradient beside the target's own pass.
        auto own = step.surrogate.own_passes;
        if (step.surrogate.adapt) {  // one model more in each round, and the pass that it is made of
          own *= (spec.restarts + 2) / 2;
          total.forward += spec.restarts * defence.passes_per_row(t);
        }
        total.forward += passes.forward * defence.passes_per_row(t) + own * passes.backward;
        total.backward += std::max<int64_t>(own, 1) * passes.backward;
      }
    }
    // Clean verdicts.
    total.forward += defence.passes_per_row(t) * (1 + static_cast<int64_t>(targets_beside(defence, t).size()));
    if (batch) total.forward += 2 * (judged + 2);  // compositions
  }
  if (options.version == "fast") add_alarms(defence, norm, options, attacked.size(), total);
  return total;
}

}  // namespace hpm
