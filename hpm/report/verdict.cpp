#include "hpm/report/verdict_impl.h"

namespace hpm {
namespace {

bool is_defence(const RunResults& run) { return run.role == "hpm" || run.role == "l2"; }

std::string subject(const RunResults& run) {
  return run.role == "hpm" ? "HPM" : run.role == "l2" ? "The l2 classifier" : run.name;
}

std::string in_context(const ContextResult& c) { return c.context.empty() ? "" : " in context " + c.context; }

std::string join(const std::vector<std::string>& items, const std::string& separator = ", ") {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : separator) + item;
  return out;
}

/// -1, 0 or 1: loss, no detectable difference, gain.
int direction(const PairedModel& m) {
  const double d = m.difference.value_or(0);
  if (m.p && *m.p >= .05) return 0;
  if (m.difference_interval && m.difference_interval->low <= 0 && m.difference_interval->high >= 0) return 0;
  if (!m.p && !m.difference_interval) return 0;
  return d > 0 ? 1 : d < 0 ? -1 : 0;
}

std::string evidence(const PairedModel& m, int64_t n) {
  std::vector<std::string> parts = {fmt::format("difference {} points", points(*m.difference))};
  if (m.difference_interval) parts.push_back("95 % interval " + range_text(*m.difference_interval));
  if (m.p) parts.push_back("McNemar " + p_text(*m.p));
  parts.push_back(fmt::format("n = {}", count_text(n)));
  return "(" + join(parts) + ")";
}

/// What attacked the model: only what really ran is named.
std::string worst_case(const RunResults& run) {
  if (run.protocol == "msa") {
    const auto& all = run.headline().surrogates;
    const auto ran = std::count_if(all.begin(), all.end(),
                                   [](const SurrogateResult& s) { return s.unavailable.empty() && s.same_as.empty(); });
    return ran > 0 ? fmt::format("the worst case over {} surrogate{}", ran, ran == 1 ? "" : "s") : "the attacks";
  }
  const bool changed = std::any_of(run.notes.begin(), run.notes.end(),
                                   [](const auto& note) { return note.find("instead of the") != std::string::npos; });
  if (run.protocol == "autoattack" && run.version != "custom")
    return changed ? "AutoAttack with changed settings" : "AutoAttack";
  std::vector<std::string> names;
  for (const auto& attack : run.attacks)
    if (std::find(names.begin(), names.end(), attack.name) == names.end()) names.push_back(attack.name);
  if (names.empty()) return run.protocol;
  return (names.size() == 1 ? "the attack " : "the attacks ") + join(names);
}

std::string attack_text(const RunResults& run) { return fmt::format("{} {}", run.norm, radius_text(run.eps)); }

std::string kept(const RunResults& run) {
  const auto& c = run.headline();
  return fmt::format("{} keeps {}{} of {} images under {} ({}){}", subject(run), percent(*c.robust_accuracy),
                     c.interval ? " (95 % interval " + span_text(*c.interval) + ")" : "", count_text(run.n),
                     worst_case(run), attack_text(run), in_context(c));
}

std::string suspect_sentence(const RunResults& run, const RunResults* control) {
  const bool own = is_suspect(run);
  const auto reasons = suspicions(own ? run : *control);
  return fmt::format(
      "Suspect result: {} did not pass the checks{}. No figure below can be taken as robustness, and no "
      "comparison drawn, until that is explained.",
      own ? "the evaluation of " + (is_defence(run) ? subject(run) : run.name) : "the control's evaluation",
      reasons.empty() ? "" : ": " + join(reasons, "; "));
}

void compare_sentence(const RunResults& run, Verdict& v) {
  const auto& c = run.headline();
  const auto& m = *c.control;
  const int way = direction(m);
  v.outcome = way > 0 ? Outcome::gain : way < 0 ? Outcome::loss : Outcome::no_difference;
  const auto claim = way > 0   ? "makes this model more robust"
                     : way < 0 ? "makes this model less robust"
                               : "does not make this model more robust";
  v.sentence = fmt::format("{} {}{}: {} against {} for the matched control {}.", subject(run), claim, in_context(c),
                           percent(*c.robust_accuracy), percent(*m.robust_accuracy), evidence(m, run.n));
  std::vector<std::string> losing;
  for (size_t i = 1; i < run.contexts.size(); ++i) {
    const auto& other = run.contexts[i];
    if (other.control && other.control->difference && direction(*other.control) < 0)
      losing.push_back(fmt::format("{} ({} points)", other.context, points(*other.control->difference)));
  }
  if (way >= 0 && !losing.empty())
    v.sentence += fmt::format(" It makes the model less robust in context {}.", join(losing, " and "));
}

void remark_resolution(const RunResults& run, Verdict& v) {
  const auto& m = *run.headline().control;
  if (!m.smallest_detectable) return;
  const auto size = one_decimal(*m.smallest_detectable), n = count_text(run.n);
  if (v.outcome == Outcome::no_difference)
    v.remarks.push_back(
        fmt::format("{} images would have shown a difference of {} points or more (with 80 % power); a "
                    "smaller gain or loss can go unseen.",
                    n, size));
  else v.remarks.push_back(fmt::format("{} images show a difference of {} points or more with 80 % power.", n, size));
}

void remark_clean(const RunResults& run, Verdict& v) {
  const auto& c = run.headline();
  if (!c.clean_accuracy || !c.control || !c.control->clean_accuracy) return;
  v.remarks.push_back(fmt::format("Clean accuracy: {} against {} for the control ({} points).",
                                  percent(*c.clean_accuracy), percent(*c.control->clean_accuracy),
                                  points(*c.clean_accuracy - *c.control->clean_accuracy)));
}

/// What fine-tuning without the defence brings is not the defence's.
void remark_base(const RunResults& run, Verdict& v) {
  const auto& c = run.headline();
  if (!run.base || !run.base->robust_accuracy || !c.robust_accuracy) return;
  const double gained = *c.robust_accuracy - *run.base->robust_accuracy;
  auto text = fmt::format("Against the model before fine-tuning: {} points", points(gained));
  if (c.control && c.control->robust_accuracy)
    text += fmt::format("; the same fine-tuning without {} (the control) brings {}.",
                        run.role == "hpm" ? "HPM" : "the new head",
                        points(*c.control->robust_accuracy - *run.base->robust_accuracy));
  else text += ". That contains what fine-tuning alone would have brought; only a matched control tells them apart.";
  v.remarks.push_back(text);
}

void remark_contexts(const RunResults& run, Verdict& v) {
  std::vector<std::string> others;
  for (size_t i = 1; i < run.contexts.size(); ++i) {
    const auto& c = run.contexts[i];
    if (!c.robust_accuracy) continue;
    const auto difference = c.control && c.control->difference ? " (" + points(*c.control->difference) + ")" : "";
    others.push_back(c.context + " " + percent(*c.robust_accuracy) + difference);
  }
  if (!others.empty()) v.remarks.push_back("The same model in its other contexts: " + join(others) + ".");
}

void remark_obfuscation(const RunResults& run, Verdict& v) {
  const ContextResult* worst = nullptr;
  for (const auto& c : run.contexts)
    if (c.ste_accuracy && c.obfuscation_gap.value_or(0) >= kMaskedGradients &&
        (!worst || *c.obfuscation_gap > *worst->obfuscation_gap))
      worst = &c;
  if (!worst) return;
  v.remarks.push_back(
      fmt::format("Attacked through STE alone it would seem to keep {}{}: {} points of that fell to other surrogates, "
                  "contexts or starts, so they are no robustness.",
                  percent(*worst->ste_accuracy), in_context(*worst), one_decimal(*worst->obfuscation_gap)));
}

void remark_attack(const RunResults& run, Verdict& v) {
  std::vector<std::string> missing;
  for (const auto& c : run.contexts)
    for (const auto& s : c.surrogates)
      if (s.unavailable.rfind("needs ", 0) == 0 && std::find(missing.begin(), missing.end(), s.name) == missing.end())
        missing.push_back(s.name);
  if (!missing.empty())
    v.remarks.push_back(
        fmt::format("Not attacked through {} (not available): the worst case may be lower.", join(missing)));
  if (run.protocol == "pgd" || run.protocol == "fast" || run.version == "custom")
    v.remarks.push_back(fmt::format("Nothing but {} was run; a stronger attack may break more.", worst_case(run)));
  if (run.role == "hpm" && run.protocol != "msa")
    v.remarks.push_back(
        "One surrogate's gradients were attacked. A single surrogate flatters HPM; --protocol msa takes "
        "the worst case over all of them.");
}

/// What the evaluation itself had to say, such as settings forced by the model.
void remark_notes(const RunResults& run, Verdict& v) {
  for (const auto& note : run.notes) v.remarks.push_back("Note: " + note + ".");
}

void remark_checks(const RunResults& run, Verdict& v) {
  const bool any =
      std::any_of(run.checks.begin(), run.checks.end(), [](const auto& c) { return c.status != "not run"; });
  if (!any) v.remarks.push_back("No check of the attacks was run, so nothing has tested whether they did their work.");
}

}  // namespace

const char* Verdict::name() const {
  const char* kNames[] = {"suspect", "no-attack", "no-control", "gain", "no-difference", "loss"};
  return kNames[static_cast<int>(outcome)];
}

const char* Verdict::title() const {
  const char* kTitles[] = {"Suspect result",
                           "No attack was run",
                           "No control to compare with",
                           "More robust than the control",
                           "No detectable difference",
                           "Less robust than the control"};
  return kTitles[static_cast<int>(outcome)];
}

Verdict verdict_of(const RunResults& run, const RunResults* control) {
  Verdict v;
  const auto& c = run.headline();
  if (is_suspect(run) || (control && is_suspect(*control))) {
    v.outcome = Outcome::suspect;
    v.sentence = suspect_sentence(run, control);
    if (c.robust_accuracy) v.remarks.push_back("For the record: " + kept(run) + ".");
    return v;
  }
  if (!c.robust_accuracy) {
    v.outcome = Outcome::no_attack;
    v.sentence = fmt::format("No attack was run: {} clean accuracy on {} images says nothing about robustness.",
                             c.clean_accuracy ? percent(*c.clean_accuracy) : "the", count_text(run.n));
    return v;
  }
  const bool compared = run.role != "control" && c.control && c.control->robust_accuracy && c.control->difference;
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
