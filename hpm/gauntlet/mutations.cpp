#include "hpm/gauntlet/mutations.h"

#include <algorithm>

#include "hpm/core/error.h"

namespace hpm {
namespace {

constexpr auto surrogate = GuardKind::surrogate;
constexpr auto check = GuardKind::check;
constexpr auto alarm = GuardKind::alarm;

Mutation by(GuardKind kind, const char* guard, const char* defence) { return {kind, guard, defence, {}}; }
Mutation none(GuardKind kind, const char* guard, const char* why) { return {kind, guard, {}, why}; }

template <class Names>
bool has(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string to_string(GuardKind kind) { return kind == surrogate ? "surrogate" : kind == check ? "check" : "alarm"; }

const std::vector<Mutation>& mutation_table() {
  static const std::vector<Mutation> table = {
      by(surrogate, "self", "adversarially-trained"),
      by(surrogate, "eot", "activation-pruning"),
      by(surrogate, "ste", "hpm-reference"),
      none(surrogate, "fc",
           "ste alone tells the truth of hpm-alone on this network; on others fc does not (docs/results.md)"),
      by(surrogate, "smoothed", "resize-and-pad"),
      by(surrogate, "bpda", "bit-depth"),
      by(surrogate, "base", "custom-backward"),
      by(surrogate, "query", "thermometer"),
      by(surrogate, "decision", "label-only"),
      by(surrogate, "gmsa-avg", "surer-of-two"),
      by(surrogate, "gmsa-min", "surer-of-two"),
      by(check, "unbounded", "bit-depth"),
      by(check, "zero gradients", "bit-depth"),
      by(check, "gradient fidelity", "custom-backward"),
      by(check, "loss that does not move", "bit-depth"),
      by(check, "determinism", "resize-and-pad"),
      by(check, "consistency", "surer-of-two"),
      by(check, "transfer", "custom-backward"),
      by(check, "Square after white-box", "custom-backward"),
      by(check, "Square on a sample", "thermometer"),
      by(check, "FAB on a sample", "crossmax"),
      by(check, "binarisation self-test", "bit-depth"),
      none(check, "convergence", "it looks at the attack: one with too few steps; the gauntlet's have enough"),
      none(check, "NaN or infinite", "logits that are not finite end the run with an error before a verdict stands"),
      none(check, "ball and box", "it looks at the attack: no prediction moves an image out of its ball"),
      none(check, "reload", "it looks at the files, not at the defence"),
      none(check, "peer accuracy", "it looks at the base and the control, not at the defence"),
      none(check, "time limit", "it looks at the clock, not at the defence"),
      none(check, "alarms", "it counts the alarms, which have their own lines here"),
      by(alarm, "probabilities", "probabilities"),
      by(alarm, "random", "resize-and-pad"),
      by(alarm, "coupled batch", "surer-of-two"),
      by(alarm, "zero gradients", "bit-depth"),
      by(alarm, "loss that does not move", "bit-depth"),
      by(alarm, "gradient fidelity", "custom-backward"),
      by(alarm, "fab-t beyond the core", "crossmax"),
      by(alarm, "square beyond the core", "surer-of-two"),
      by(alarm, "Square comes nearer", "custom-backward"),
      by(alarm, "transfer from base", "custom-backward"),
      none(alarm, "PGD-10 against PGD-50",
           "it looks for models on which attacks need many steps; no defence here is one"),
      none(alarm, "stand-in gradient",
           "it says what the gradient is, whatever it hides: ste alone tells the truth of hpm-alone here"),
  };
  return table;
}

std::vector<std::string> guards_of(const std::string& defence, GuardKind kind) {
  std::vector<std::string> names;
  for (const auto& mutation : mutation_table())
    if (mutation.defence == defence && mutation.kind == kind) names.push_back(mutation.guard);
  return names;
}

MutationOutcome outcome_of(const Mutation& mutation, const GauntletResult& row) {
  require(mutation.defence == row.name, "mutation {}: needs the row {}, but got {}", mutation.guard, mutation.defence,
          row.name);
  MutationOutcome out{mutation, row.truth};
  const auto told = [&](double msa) { return msa <= row.truth + 1; };
  if (mutation.kind != GuardKind::surrogate) {
    out.with = out.without = row.naive;
    const bool noticed = mutation.kind == alarm
                             ? has(row.alarms, mutation.guard)
                             : std::any_of(row.flagged.begin(), row.flagged.end(), [&](const auto& flag) {
                                 return flag.check == mutation.guard && has(row.causes, flag.cause);
                               });
    out.passes_with = noticed || told(out.with);
    out.fails_without = !told(out.without);
    return out;
  }
  const auto part =
      std::find_if(row.parts.begin(), row.parts.end(), [&](const auto& p) { return p.surrogate == mutation.guard; });
  const bool own = mutation.guard == row.own;  // without it nothing attacks
  out.with = own ? row.own_alone : part == row.parts.end() ? row.own_alone : part->with_own;
  out.without = own ? row.clean : row.own_alone;
  const bool most = out.without - out.with >= (out.without - row.truth) / 2;
  out.passes_with = told(out.with) || most, out.fails_without = !told(out.without);
  return out;
}

std::vector<MutationOutcome> mutation_outcomes(const std::vector<GauntletResult>& rows) {
  std::vector<MutationOutcome> all;
  for (const auto& mutation : mutation_table())
    for (const auto& row : rows)
      if (row.name == mutation.defence) all.push_back(outcome_of(mutation, row));
  return all;
}

}  // namespace hpm
