#include "hpm/attacks/sequence.h"

#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/fab.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"

namespace hpm {
namespace {

template <LossKind loss>
AttackResult run_apgd(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                      const RandomStreams& streams, Monitor& monitor) {
  // With too few classes for a ratio of logits, its numerator alone.
  const bool plain =
      (loss == LossKind::dlr_targeted && model.classes() < 4) || (loss == LossKind::dlr && model.classes() < 3);
  return apgd(model, images, threat,
              {.loss = plain ? LossKind::difference : loss,
               .steps = spec.steps,
               .restarts = spec.restarts,
               .targets = spec.targets,
               .eot = spec.eot,
               .large_radius = spec.large_radius && threat.norm == Norm::l1,
               .conformance = spec.conformance,
               .stream = spec.name},
              streams, monitor);
}

template <bool targeted>
AttackResult run_fab(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                     const RandomStreams& streams, Monitor& monitor) {
  return fab(model, images, threat,
             {.targeted = targeted,
              .steps = spec.steps,
              .restarts = spec.restarts,
              .targets = spec.targets,
              .conformance = spec.conformance,
              .stream = spec.name},
             streams, monitor);
}

AttackResult run_square(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor) {
  return square(
      model, images, threat,
      {.queries = spec.queries, .restarts = spec.restarts, .conformance = spec.conformance, .stream = spec.name},
      streams, monitor);
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
    all.push_back({.name = name, .restarts = attack_entry(name).restarts});
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

/// Settings the user gave in place of the version's.
void replace_settings(const SequenceRequest& request, AttackSpec& spec, std::vector<std::string>& notes) {
  const auto replace = [&](int64_t& value, const std::optional<int64_t>& given, const char* what) {
    if (!given || *given == value) return;
    if (request.version != "custom")
      notes.push_back(
          fmt::format("{} has {} {} instead of the {} of version {}", spec.name, *given, what, value, request.version));
    value = *given;
  };
  const auto& entry = attack_entry(spec.name);
  if (!entry.queries) replace(spec.steps, request.steps, "steps");
  replace(spec.restarts, request.restarts, "restarts");
  if (entry.targeted) replace(spec.targets, request.targets, "targets");
  if (entry.queries) replace(spec.queries, request.queries, "queries");
}

}  // namespace

const std::vector<AttackEntry>& attack_table() {
  static const std::vector<AttackEntry> table = {
      {"apgd-ce", "APGD on the cross-entropy", false, false, 2, 5, run_apgd<LossKind::ce>},
      {"apgd-dlr", "APGD on the difference of logits ratio", false, false, 3, 5, run_apgd<LossKind::dlr>},
      {"apgd-t", "APGD on the targeted difference of logits ratio", true, false, 4, 1,
       run_apgd<LossKind::dlr_targeted>},
      {"fab", "FAB, against the nearest linearised boundary", false, false, 2, 5, run_fab<false>},
      {"fab-t", "FAB against one target class after the other", true, false, 2, 1, run_fab<true>},
      {"square", "Square: random search without gradients", false, true, 2, 1, run_square},
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

namespace {

/// Runs of the attack: restarts of each target. "region" (a surrogate's own objective) is not in the table; it is
/// targeted.
int64_t runs_of(const AttackSpec& spec) {
  const bool targeted = spec.name == "region" || attack_entry(spec.name).targeted;
  return spec.restarts * (targeted ? spec.targets : 1);
}

bool asks_alone(const AttackSpec& spec) { return spec.name != "region" && attack_entry(spec.name).queries; }

}  // namespace

Passes passes_of(const AttackSpec& spec) {
  const int64_t runs = runs_of(spec), clean_and_verdict = 2;
  if (asks_alone(spec)) return {clean_and_verdict + runs * (spec.queries + 1), 0};
  if (spec.name.rfind("fab", 0) == 0) return {clean_and_verdict + runs * (2 * spec.steps + 1), runs * 2 * spec.steps};
  const int64_t asked = runs * (spec.steps + (spec.large_radius ? 3 : 1)) * spec.eot;
  return {clean_and_verdict + asked, asked};
}

ChunkMonitor::ChunkMonitor(Monitor& outer, const AttackSpec& spec, int64_t begin, int64_t rows, std::string note)
    : outer_(outer),
      begin_(begin),
      rows_(rows),
      expected_(std::max<int64_t>(runs_of(spec) * (asks_alone(spec) ? spec.queries : spec.steps), 1)),
      note_(std::move(note)) {}

void ChunkMonitor::tick() {
  ++ticks_;
  outer_.step(begin_ + rows_ * std::min(ticks_, expected_) / expected_, note_);
}

AttackSequence autoattack_sequence(const SequenceRequest& request) {
  require(request.classes >= 2, "autoattack: needs at least 2 classes, but the model has {}", request.classes);
  AttackSequence sequence{attacks_of(request), {}};
  for (auto& spec : sequence.attacks) {
    replace_settings(request, spec, sequence.notes);
    const auto& entry = attack_entry(spec.name);
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
