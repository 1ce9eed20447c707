#include "hpm/report/verdict_impl.h"

#include "hpm/evaluation/checks/advice.h"

namespace hpm {
namespace {

bool is_defence(const ReportedRun& run) { return run.role == "hpm" || run.role == "l2"; }

std::string subject(const ReportedRun& run) {
  if (!run.label.empty()) return run.label;
  return run.role == "hpm" ? "HPM" : run.role == "l2" ? "The l2 classifier" : run.name;
}

std::string in_context(const ContextResult& c) { return c.context.empty() ? "" : " in context " + c.context; }

std::string join(const std::vector<std::string>& items, const std::string& separator = ", ") {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : separator) + item;
  return out;
}

std::string evidence(const PairedModel& m, int64_t n) {
  std::vector<std::string> parts = {fmt::format("difference {} points", points(*m.difference))};
  if (m.difference_interval) parts.push_back("95 % interval " + range_text(*m.difference_interval));
  if (m.p) parts.push_back("McNemar " + p_text(*m.p));
  parts.push_back(fmt::format("n = {}", count_text(n)));
  return "(" + join(parts) + ")";
}

/// What attacked the model: only what really ran is named.
std::string worst_case(const ReportedRun& run) {
  if (run.protocol == "msa") {
    const auto& all = run.headline().surrogates;
    const auto ran = std::count_if(all.begin(), all.end(),
                                   [](const SurrogateResult& s) { return s.unavailable.empty() && s.same_as.empty(); });
    return ran > 0 ? fmt::format("the worst case over {} surrogate{}", ran, ran == 1 ? "" : "s") : "the attacks";
  }
  if (run.protocol == "autoattack" && run.version != "custom")
    return run.changed_settings ? "AutoAttack with changed settings" : "AutoAttack";
  if (run.protocol == "fast")
    return run.escalated.value_or(false) ? "the fast evaluation, which escalated" : "the fast evaluation";
  std::vector<std::string> names;
  for (const auto& attack : run.attacks)
    if (std::find(names.begin(), names.end(), attack.name) == names.end()) names.push_back(attack.name);
  if (names.empty()) return run.protocol;
  return (names.size() == 1 ? "the attack " : "the attacks ") + join(names);
}

std::string attack_text(const ReportedRun& run) { return fmt::format("{} {}", run.norm, radius_text(run.eps)); }

std::string kept(const ReportedRun& run) {
  const auto& c = run.headline();
  return fmt::format("{} keeps {}{} of {} images under {} ({}){}", subject(run), percent(*c.robust_accuracy),
                     c.interval ? " (95 % interval " + span_text(*c.interval) + ")" : "", count_text(run.n),
                     worst_case(run), attack_text(run), in_context(c));
}

std::string suspect_sentence(const ReportedRun& run, const ReportedRun* control) {
  const bool own = is_suspect(run);
  const auto reasons = suspicions(own ? run : *control);
  return fmt::format(
      "Suspect result: {} did not pass the checks{}. No figure below can be taken as robustness, and no difference as "
      "shown, until that is explained.",
      own ? "the evaluation of " + subject(run) : "the control's evaluation",
      reasons.empty() ? "" : ": " + join(reasons, "; "));
}

void remark_advice(const ReportedRun& run, const ReportedRun* control, Verdict& v) {
  for (const auto& name : failed_checks(is_suspect(run) ? run : *control))
    if (const auto advice = advice_for(name); !advice.empty())
      v.remarks.push_back(fmt::format("What to do next ({}): {}", name, advice));
}

bool has_comparison(const ReportedRun& run) {
  const auto& control = run.headline().control;
  return run.role != "control" && run.headline().robust_accuracy && control && control->robust_accuracy &&
         control->difference;
}

/// "61.2 % against 60.8 % (difference ...)".
std::string figures(const ReportedRun& run) {
  const auto& c = run.headline();
  return fmt::format("{} against {} {}", percent(*c.robust_accuracy), percent(*c.control->robust_accuracy),
                     evidence(*c.control, run.n));
}

/// What the difference is called: an outcome, which has a badge, and the same in a sentence.
struct Claim {
  Outcome outcome;
  const char* words;
};

Claim claim_of(Difference difference) {
  switch (difference) {
    case Difference::gain: return {Outcome::gain, "is more robust than the matched control"};
    case Difference::loss: return {Outcome::loss, "is less robust than the matched control"};
    case Difference::not_detectable:
      return {Outcome::no_difference, "shows no detectable difference to the matched control"};
    case Difference::not_tested: break;
  }
  return {Outcome::not_tested, "was not tested for a difference to the matched control"};
}

void compare_sentence(const ReportedRun& run, Verdict& v) {
  const auto& c = run.headline();
  const auto claim = claim_of(difference_of(*c.control));
  v.outcome = claim.outcome;
  v.sentence = fmt::format("{} {}{}: {}.", subject(run), claim.words, in_context(c), figures(run));
  std::vector<std::string> losing;
  for (size_t i = 1; i < run.contexts.size(); ++i) {
    const auto& other = run.contexts[i];
    if (other.control && difference_of(*other.control) == Difference::loss)
      losing.push_back(fmt::format("{} ({} points)", other.context, points(*other.control->difference)));
  }
  if (v.outcome != Outcome::loss && !losing.empty())
    v.sentence += fmt::format(" It is less robust than the control in context {}.", join(losing, " and "));
}

void remark_resolution(const ReportedRun& run, Verdict& v) {
  const auto& m = *run.headline().control;
  if (m.smallest_detectable)
    v.remarks.push_back(
        fmt::format("{} images detect a true difference of {} points or more with 80 % probability{}.",
                    count_text(run.n), one_decimal(*m.smallest_detectable),
                    v.outcome == Outcome::no_difference ? "; a smaller gain or loss can go unseen" : ""));
  const bool by_interval = m.difference_interval && (m.difference_interval->low > 0 || m.difference_interval->high < 0);
  if (v.outcome == Outcome::no_difference && m.p && by_interval != (*m.p < .05))
    v.remarks.push_back(fmt::format(
        "The 95 % interval {} 0 and the exact test gives {}: a difference is called detectable only where both agree.",
        by_interval ? "excludes" : "contains", p_text(*m.p)));
}

void remark_clean(const ReportedRun& run, Verdict& v) {
  const auto& c = run.headline();
  if (!c.clean_accuracy || !c.control || !c.control->clean_accuracy) return;
  v.remarks.push_back(fmt::format("Clean accuracy: {} against {} for the control ({} points).",
                                  percent(*c.clean_accuracy), percent(*c.control->clean_accuracy),
                                  points(*c.clean_accuracy - *c.control->clean_accuracy)));
}

/// What fine-tuning without the defence brings is not the defence's.
void remark_base(const ReportedRun& run, Verdict& v) {
  const auto& c = run.headline();
  if (!run.base || !run.base->robust_accuracy || !c.robust_accuracy) return;
  const double gained = *c.robust_accuracy - *run.base->robust_accuracy;
  auto text = fmt::format("Against the model before fine-tuning: {} points", points(gained));
  if (run.base->difference_interval)
    text += fmt::format(" (95 % interval {})", range_text(*run.base->difference_interval));
  if (c.control && c.control->robust_accuracy)
    text += fmt::format("; the same fine-tuning without {} (the control) brings {}.",
                        run.role == "hpm"  ? "HPM"
                        : run.role == "l2" ? "the new head"
                                           : "the defence",
                        points(*c.control->robust_accuracy - *run.base->robust_accuracy));
  else text += ". That contains what fine-tuning alone would have brought; only a matched control tells them apart.";
  v.remarks.push_back(text);
}

void remark_contexts(const ReportedRun& run, Verdict& v) {
  std::vector<std::string> others;
  for (size_t i = 1; i < run.contexts.size(); ++i) {
    const auto& c = run.contexts[i];
    if (!c.robust_accuracy) continue;
    std::string difference;
    if (c.control && c.control->difference)
      difference = fmt::format(" ({}{})", points(*c.control->difference),
                               difference_of(*c.control) == Difference::not_detectable ? ", not detectable" : "");
    others.push_back(c.context + " " + percent(*c.robust_accuracy) + difference);
  }
  if (!others.empty()) v.remarks.push_back("The same model in its other contexts: " + join(others) + ".");
}

void remark_obfuscation(const ReportedRun& run, Verdict& v) {
  const ContextResult* worst = nullptr;
  for (const auto& c : run.contexts)
    if (c.leading_accuracy && c.obfuscation_gap.value_or(0) >= kMaskedGradients &&
        (!worst || *c.obfuscation_gap > *worst->obfuscation_gap))
      worst = &c;
  if (!worst) return;
  v.remarks.push_back(fmt::format(
      "Attacked through {} alone it would seem to keep {}{}: {} points of that fell to other surrogates, "
      "contexts or starts, so they are no robustness.",
      worst->leading, percent(*worst->leading_accuracy), in_context(*worst), one_decimal(*worst->obfuscation_gap)));
}

void remark_attack(const ReportedRun& run, Verdict& v) {
  std::vector<std::string> missing;
  for (const auto& c : run.contexts)
    for (const auto& s : c.surrogates)
      if (!s.needs.empty() && std::find(missing.begin(), missing.end(), s.name) == missing.end())
        missing.push_back(s.name);
  if (!missing.empty())
    v.remarks.push_back(
        fmt::format("Not attacked through {} (not available): the worst case may be lower.", join(missing)));
  if (run.bound)
    v.remarks.push_back(
        fmt::format("{} attacked a random {} of {} images: robust accuracy is at least {} with 95 % "
                    "confidence.",
                    run.bound->stage, count_text(run.bound->sampled), count_text(run.bound->of),
                    percent(run.bound->robust_accuracy)));
  if (run.protocol == "pgd" || run.version == "custom")
    v.remarks.push_back(fmt::format("Nothing but {} was run; a stronger attack may break more.", worst_case(run)));
  if (run.role == "hpm" && run.protocol != "msa")
    v.remarks.push_back(
        "One surrogate's gradients were attacked. A single surrogate flatters HPM; --protocol msa takes "
        "the worst case over all of them.");
}

/// What the evaluation itself had to say, such as settings forced by the model.
void remark_notes(const ReportedRun& run, Verdict& v) {
  for (const auto& note : run.notes) v.remarks.push_back("Note: " + note + ".");
}

void remark_checks(const ReportedRun& run, Verdict& v) {
  const bool any =
      std::any_of(run.checks.begin(), run.checks.end(), [](const auto& c) { return c.status != "not run"; });
  if (!any) v.remarks.push_back("No check of the attacks was run, so nothing has tested whether they did their work.");
}

}  // namespace

const char* Verdict::name() const {
  const char* kNames[] = {"suspect", "no-attack", "no-control", "not-tested", "gain", "no-difference", "loss"};
  return kNames[static_cast<int>(outcome)];
}

const char* Verdict::title() const {
  const char* kTitles[] = {"Suspect result",
                           "No attack was run",
                           "No control to compare with",
                           "Difference not tested",
                           "More robust than the control",
                           "No detectable difference",
                           "Less robust than the control"};
  return kTitles[static_cast<int>(outcome)];
}

Verdict verdict_of(const ReportedRun& run, const ReportedRun* control) {
  Verdict v;
  const auto& c = run.headline();
  if (is_suspect(run) || (control && is_suspect(*control))) {
    v.outcome = Outcome::suspect;
    v.sentence = suspect_sentence(run, control);
    remark_advice(run, control, v);
    if (has_comparison(run))
      v.remarks.push_back(fmt::format("For the record, suspect: {} against the matched control{}: {}.", subject(run),
                                      in_context(c), figures(run)));
    else if (c.robust_accuracy) v.remarks.push_back("For the record, suspect: " + kept(run) + ".");
    return v;
  }
  if (!c.robust_accuracy) {
    v.outcome = Outcome::no_attack;
    v.sentence = fmt::format("No attack was run: {} clean accuracy on {} images says nothing about robustness.",
                             c.clean_accuracy ? percent(*c.clean_accuracy) : "the", count_text(run.n));
    return v;
  }
  const bool compared = has_comparison(run);
  if (compared) {
    compare_sentence(run, v);
    remark_resolution(run, v);
  } else {
    v.sentence = kept(run) + (is_defence(run)
                                  ? ". There is no matched control, so it is not known whether " +
                                        std::string(run.role == "hpm" ? "HPM" : "the l2 head") + " made it more robust."
                                  : ".");
    if (!is_defence(run))
      v.remarks.push_back(
          "No control stands beside it: this says how robust the model is, not what a "
          "defence brought.");
  }
  remark_clean(run, v);
  remark_base(run, v);
  remark_contexts(run, v);
  remark_obfuscation(run, v);
  remark_attack(run, v);
  remark_notes(run, v);
  remark_checks(run, v);
  if (compared)
    v.remarks.push_back(
        "One trained model each: what another training seed would change is not in these "
        "intervals.");
  return v;
}

}  // namespace hpm
