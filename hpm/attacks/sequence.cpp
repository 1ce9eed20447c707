#include "hpm/attacks/sequence.h"

#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/fab.h"
#include "hpm/attacks/pgd.h"
#include "hpm/attacks/rays.h"
#include "hpm/attacks/relaxation.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/models/operations.h"

namespace hpm {
namespace {

template <LossKind loss>
ApgdOptions apgd_options(const AttackSpec& spec) {
  return {.loss = loss,
          .steps = spec.steps,
          .restarts = spec.restarts,
          .targets = spec.targets,
          .eot = spec.eot,
          .large_radius = spec.large_radius,
          .conformance = spec.conformance,
          .at_once = spec.conformance ? 0 : spec.at_once,
          .stream = spec.name};
}

template <LossKind loss>
AttackResult run_apgd(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                      const RandomStreams& streams, Monitor& monitor) {
  auto options = apgd_options<loss>(spec);
  options.large_radius &= threat.norm == Norm::l1;
  // With too few classes for a ratio of logits, its numerator alone.
  if (model.classes() < attack_entry(spec.name).classes) options.loss = LossKind::difference;
  return apgd(model, images, threat, options, streams, monitor);
}

template <bool targeted>
FabOptions fab_options(const AttackSpec& spec) {
  return {.targeted = targeted,
          .steps = spec.steps,
          .restarts = spec.restarts,
          .targets = spec.targets,
          .conformance = spec.conformance,
          .at_once = spec.conformance ? 0 : spec.at_once,
          .classes = spec.classes,
          .stream = spec.name};
}

template <bool targeted>
AttackResult run_fab(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                     const RandomStreams& streams, Monitor& monitor) {
  return fab(model, images, threat, fab_options<targeted>(spec), streams, monitor);
}

SquareOptions square_options(const AttackSpec& spec) {
  return {.queries = spec.queries, .restarts = spec.restarts, .conformance = spec.conformance, .stream = spec.name};
}

AttackResult run_square(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor) {
  return square(model, images, threat, square_options(spec), streams, monitor);
}

RaysOptions rays_options(const AttackSpec& spec) {
  return {.queries = spec.queries, .restarts = spec.restarts, .stream = spec.name};
}

AttackResult run_rays(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                      const RandomStreams& streams, Monitor& monitor) {
  return rays(model, images, threat, rays_options(spec), streams, monitor);
}

/// Steps are shared out to the cycles' parts; a restart towards a target takes place where it came near.
RelaxationOptions relaxation_options(const AttackSpec& spec) {
  RelaxationOptions options{.targets = spec.targets, .starts = std::max<int64_t>(spec.restarts - 1, 0)};
  options.part = std::max<int64_t>(spec.steps / (3 * options.cycles), 1);
  options.at_once = spec.conformance ? 0 : spec.at_once;
  options.stream = spec.name;
  return options;
}

AttackResult run_relaxation(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                            const RandomStreams& streams, Monitor& monitor) {
  return relaxation(model, images, threat, relaxation_options(spec), streams, monitor);
}

/// The budget of the attack whose options `options(spec)` are.
template <auto options>
AttackBudget budget(const AttackSpec& spec) {
  return budget_of(options(spec));
}

std::vector<AttackSpec> standard(Norm norm) {
  const bool l1 = norm == Norm::l1;
  return {{.name = "apgd-ce", .restarts = l1 ? 5 : 1, .large_radius = l1},
          {.name = "apgd-t", .targets = l1 ? 5 : 9, .large_radius = l1},
          {.name = "fab-t"},
          {.name = "square"}};
}

std::vector<AttackSpec> several(const std::vector<std::string>& names) {
  std::vector<AttackSpec> all;
  for (const auto& name : names) {
    const auto& entry = attack_entry(name);
    all.push_back({.name = name, .steps = entry.steps, .restarts = entry.restarts});
    // The official code shares one object between fab and fab-t, which sets its restarts to 1 for good.
    const bool after_fab_t = std::find(names.begin(), names.begin() + static_cast<int64_t>(all.size()), "fab-t") !=
                             names.begin() + static_cast<int64_t>(all.size());
    if (name == "fab" && after_fab_t) all.back().restarts = 1;
  }
  return all;
}

std::vector<AttackSpec> attacks_of(const SequenceRequest& request) {
  if (request.version == "standard") return standard(request.norm);
  if (request.version == "plus") return several({"apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"});
  if (request.version == "rand") return {{.name = "apgd-ce", .eot = 20}, {.name = "apgd-dlr", .eot = 20}};
  require(request.version == "custom", "autoattack: version needs to be standard, plus, rand or custom, but got \"{}\"",
          request.version);
  require(!request.custom.empty(), "autoattack: version custom needs the names of attacks");
  return several(request.custom);
}

/// Settings the user gave in place of the version's; version custom has none that they could differ from.
void replace_settings(const SequenceRequest& request, AttackSpec& spec, AttackSequence& sequence) {
  const auto replace = [&](int64_t& value, const std::optional<int64_t>& given, const char* what) {
    if (!given || *given == value) return;
    if (request.version != "custom") {
      sequence.changed = true;
      sequence.notes.push_back(
          fmt::format("{} has {} {} instead of the {} of version {}", spec.name, *given, what, value, request.version));
    }
    value = *given;
  };
  const auto& entry = attack_entry(spec.name);
  const auto& given = request.settings;
  if (!entry.queries) replace(spec.steps, given.steps, "steps");
  replace(spec.restarts, given.restarts, "restarts");
  if (entry.targeted) replace(spec.targets, given.targets, "targets");
  if (entry.queries) replace(spec.queries, given.queries, "queries");
}

}  // namespace

void fields(Fields& f, AttackSettings& o) {
  f.add("steps", o.steps, "gradient steps per restart (none: pgd 40, else the version's)", {.min = 1, .max = 1000000});
  f.add("restarts", o.restarts, "random starts (none: pgd 1, autoattack the version's); of msa: times the version's",
        {.min = 1, .max = 100000});
  f.add("targets", o.targets, "targets of autoattack's targeted attacks (none: as the version)", {.min = 1});
  f.add("queries", o.queries, "queries of Square and RayS (none: as the version)", {.min = 0});
}

const std::vector<AttackEntry>& attack_table() {
  static const std::vector<AttackEntry> table = {
      {.name = "apgd-ce",
       .summary = "APGD on the cross-entropy",
       .run = run_apgd<LossKind::ce>,
       .budget = budget<apgd_options<LossKind::ce>>,
       .restarts = 5},
      {.name = "apgd-dlr",
       .summary = "APGD on the difference of logits ratio",
       .run = run_apgd<LossKind::dlr>,
       .budget = budget<apgd_options<LossKind::dlr>>,
       .classes = 3,
       .restarts = 5},
      {.name = "apgd-t",
       .summary = "APGD on the targeted difference of logits ratio",
       .run = run_apgd<LossKind::dlr_targeted>,
       .budget = budget<apgd_options<LossKind::dlr_targeted>>,
       .targeted = true,
       .surrogate_ranking = true,
       .classes = 4},
      {.name = "apgd-own",
       .summary = "APGD on a surrogate's own objective, where it has one",
       .run = run_apgd<LossKind::own>,
       .budget = budget<apgd_options<LossKind::own>>,
       .targeted = true,
       .objective = true},
      {.name = "fab",
       .summary = "FAB, against the nearest linearised boundary",
       .run = run_fab<false>,
       .budget = budget<fab_options<false>>,
       .boundary = true,
       .restarts = 5},
      {.name = "fab-t",
       .summary = "FAB against one target class after the other",
       .run = run_fab<true>,
       .budget = budget<fab_options<true>>,
       .targeted = true,
       .surrogate_ranking = true,
       .boundary = true,
       .repeats = false},
      {.name = "square",
       .summary = "Square: random search without gradients",
       .run = run_square,
       .budget = budget<square_options>,
       .queries = true,
       .repeats = false},
      {.name = "rays",
       .summary = "RayS: search along rays by the predicted label alone",
       .run = run_rays,
       .budget = budget<rays_options>,
       .queries = true,
       .single_images = true,
       .repeats = false},
      {.name = "relaxation",
       .summary = "constraint relaxation: a few steps towards each target class, more where it comes near",
       .run = run_relaxation,
       .budget = budget<relaxation_options>,
       .targeted = true,
       .surrogate_ranking = true,
       .restarts = 3,
       .steps = 150},
  };
  return table;
}

const AttackEntry& attack_entry(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : attack_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("autoattack: unknown attack \"{}\"{}; known are {}", name,
             nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest), fmt::join(names, ", "));
}

bool asks_for_gradients(const std::string& attack) {
  const auto& table = attack_table();
  return std::none_of(table.begin(), table.end(),
                      [&](const auto& entry) { return entry.name == attack && entry.queries; });
}

bool seeks_boundary(const std::string& attack) {
  const auto& table = attack_table();
  return std::any_of(table.begin(), table.end(),
                     [&](const auto& entry) { return entry.name == attack && entry.boundary; });
}

Passes passes_of(const AttackSpec& given, const SurrogateRanking& surrogate) {
  const auto& entry = attack_entry(given.name);
  auto spec = given;
  Passes total{2, 0};  // the original and the verdict
  if (surrogate.ranks && entry.surrogate_ranking) {
    const auto left = std::max<int64_t>(surrogate.classes - 1 - spec.targets, 0);
    spec.targets += surrogate.coupling == Coupling::rows ? std::min(spec.targets, left) : left ? spec.targets : 0;
    ++total.forward;  // the surrogate's ranking
  }
  return total + entry.budget(spec).passes;
}

Passes passes_of(const AttackSequence& sequence) {
  Passes total;
  for (const auto& spec : sequence.attacks) total += passes_of(spec);
  return total;
}

ReadyAttack ready(const AttackSpec& spec) {
  const auto& entry = attack_entry(spec.name);
  return {spec.name, entry.budget(spec),
          [&entry, spec](AttackModel& model, const Images& images, const ThreatModel& threat,
                         const RandomStreams& streams, Monitor& monitor) {
            const SearchOperations faster;
            return entry.run(model, images, threat, spec, streams, monitor);
          }};
}

ReadyAttack ready(const PgdOptions& options) {
  return {"pgd", budget_of(options),
          [options](AttackModel& model, const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                    Monitor& monitor) { return pgd(model, images, threat, options, streams, monitor); }};
}

AttackSequence autoattack_sequence(const SequenceRequest& request) {
  require(request.classes >= 2, "autoattack: needs at least 2 classes, but the model has {}", request.classes);
  AttackSequence sequence{attacks_of(request), {}};
  for (auto& spec : sequence.attacks) {
    spec.classes = request.classes;
    replace_settings(request, spec, sequence);
    const auto& entry = attack_entry(spec.name);
    require(!entry.objective,
            "autoattack: {} needs a surrogate that has an objective of its own; it runs in --protocol msa alone",
            spec.name);
    if (entry.targeted && spec.targets > request.classes - 1) {
      sequence.notes.push_back(fmt::format("{} has {} targets instead of {}: the model has {} classes", spec.name,
                                           request.classes - 1, spec.targets, request.classes));
      spec.targets = request.classes - 1;
    }
    if (request.classes < entry.classes)
      sequence.notes.push_back(
          fmt::format("{} uses the difference of two logits: its ratio needs {} classes, the model has {}", spec.name,
                      entry.classes, request.classes));
  }
  return sequence;
}

}  // namespace hpm
