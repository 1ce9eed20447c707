#include "hpm/evaluation/evaluation.h"

#include "hpm/core/error.h"

namespace hpm {

bool Evaluation::suspect() const { return !reasons().empty(); }

std::vector<std::string> Evaluation::reasons() const {
  std::vector<std::string> all;
  for (const auto& check : checks)
    if (check.status == CheckOutcome::Status::failed)
      all.push_back(check.name + (check.context.empty() ? "" : " in " + check.context) + ": " + check.detail);
  return all;
}

std::vector<std::string> FastOutcome::fired() const {
  std::vector<std::string> names;
  for (const auto& alarm : alarms)
    if (alarm.fired) names.push_back(alarm.name);
  return names;
}

Evaluation evaluation_of(AutoAttackResult result, const std::string& context, const std::string& surrogate) {
  Evaluation out;
  ContextOutcome outcome{.context = context,
                         .clean_correct = result.clean_correct,
                         .robust = result.robust().clone(),  // a smaller radius may take from it later
                         .clean_prediction = result.clean_prediction};
  outcome.broken_by.resize(static_cast<size_t>(outcome.robust.numel()));
  auto previous = result.clean_correct;
  for (const auto& attack : result.attacks) {
    out.attacks.push_back({attack.spec.name, surrogate, context, attack.robust, attack.passes, attack.seconds, {}});
    const auto fresh = (previous & attack.robust.logical_not()).nonzero().squeeze(1);
    for (int64_t i = 0; i < fresh.numel(); ++i)
      outcome.broken_by[static_cast<size_t>(fresh[i].item<int64_t>())] = {
          .surrogate = surrogate, .attack = attack.spec.name, .target = context};
    previous = attack.robust;
  }
  outcome.adversarial = std::move(result.adversarial);
  out.borderline = result.borderline;
  out.notes = std::move(result.notes), out.changed_settings = result.changed;
  out.contexts.push_back(std::move(outcome));
  return out;
}

std::string to_string(Cause cause) {
  constexpr const char* names[] = {
      "",       "zero gradient", "scale",          "shattered gradient", "gradient of another function",
      "random", "batch",         "masked gradient", "optimiser inside"};
  return names[static_cast<size_t>(cause)];
}

std::string surrogates_for(Cause cause) {
  switch (cause) {
    case Cause::zero:
    case Cause::other_gradient: return "bpda (--bpda NAME=identity), transfer (--base FILE) or query";
    case Cause::shattered: return "smoothed, query, or bpda (--bpda NAME=identity)";
    case Cause::scale: return "DLR (--protocol autoattack), or the logits divided by a constant";
    case Cause::random: return "eot (--random)";
    case Cause::batch: return "its own gradient in the contexts alone, solo and joint (--coupling batch)";
    case Cause::masked: return "transfer (--base FILE), smoothed, query and decision";
    case Cause::optimiser: return "transfer from the network without the optimiser (--base FILE), smoothed and query";
    case Cause::none: break;
  }
  return "";
}

double percent(const Tensor& flags) {
  return flags.numel() == 0
             ? 0
             : 100. * static_cast<double>(flags.sum().item<int64_t>()) / static_cast<double>(flags.numel());
}

}  // namespace hpm
