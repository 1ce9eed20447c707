#include "evaluation_table.h"

#include "hpm/evaluation/checks/advice.h"
#include "options.h"

namespace hpm::app {
namespace {

std::string percent_text(const Tensor& flags) { return fmt::format("{:.1f}", percent(flags)); }

double share(int64_t part, int64_t of) {
  return 100. * static_cast<double>(part) / static_cast<double>(std::max<int64_t>(of, 1));
}

/// The surrogate whose own figure is known; "" where none led.
std::string leading_of(const std::vector<ContextOutcome>& contexts) {
  for (const auto& c : contexts)
    if (c.leading_accuracy) return c.leading;
  return {};
}

/// The stages of a fast evaluation, its alarms, and what it leaves open.
void print_fast(const FastOutcome& fast) {
  std::vector<std::vector<std::string>> rows{{"stage", "images", "broke", "passes", "seconds"}};
  int64_t passes = 0;
  for (const auto& s : fast.stages) {
    const auto images =
        s.attacked < s.images ? fmt::format("{} of {}", s.attacked, s.images) : std::to_string(s.images);
    rows.push_back(
        {s.name, images, std::to_string(s.broke), std::to_string(s.passes), fmt::format("{:.1f}", s.seconds)});
    passes += s.passes;
  }
  if (!fast.stages.empty()) fmt::print("{}", table(rows));
  const auto looked =
      std::count_if(fast.alarms.begin(), fast.alarms.end(), [](const auto& a) { return a.value.has_value(); });
  if (looked == 0) fmt::print("alarms: none was looked at, the time was up\n");
  else if (fast.fired().empty()) fmt::print("alarms: none of {} fired\n", looked);
  for (const auto& alarm : fast.alarms)
    if (alarm.fired) fmt::print("ALARM  {}: {}\n", alarm.name, alarm.evidence);
  if (fast.escalated) fmt::print("escalated: stronger attacks went on with what stood\n");
  if (const auto& b = fast.bound)
    fmt::print("{} broke {} of {} drawn from {}: robust at least {:.1f} % (95 %)\n", b->stage, b->broke, b->sampled,
               b->of, b->robust_accuracy);
  if (fast.autoattack_passes > 0 && passes > 0)
    fmt::print("AutoAttack would have taken some {} passes, {:.0f} times those of the stages (alarms not counted)\n",
               fast.autoattack_passes, static_cast<double>(fast.autoattack_passes) / static_cast<double>(passes));
}

}  // namespace

void print_outcome(const EvaluationOutcome& outcome, const EvaluationOptions& options, const std::string& report) {
  const auto& e = outcome.evaluation;
  const auto reasons = e.reasons();
  size_t next = 0;
  for (const auto& check : e.checks) {
    if (check.status != CheckOutcome::Status::failed) continue;
    fmt::print("SUSPECT  {}\n", reasons[next++]);
    if (check.cause != Cause::none)
      fmt::print("  cause: {}; attack it with {}\n", to_string(check.cause), surrogates_for(check.cause));
    if (const auto advice = advice_for(check.name); !advice.empty()) fmt::print("  what to do next: {}\n", advice);
  }
  std::vector<std::vector<std::string>> rows{{"", "clean %", "robust %", "95 %"}};
  const auto leading = leading_of(e.contexts);
  if (!leading.empty()) rows[0].push_back(leading + " alone %");
  rows[0].push_back("vs control");
  for (const auto& c : e.contexts) {
    const auto interval = wilson(c.robust.sum().item<int64_t>(), c.robust.numel());
    std::string versus = "-";
    if (outcome.control) {
      const auto paired = compare_paired(c.robust, outcome.control->evaluation.first().robust);
      versus = fmt::format("{:+.1f} (p = {:.2g})", paired.difference, paired.p);
    }
    const bool clean = options.is("clean");
    rows.push_back({c.context.empty() ? "model" : c.context, percent_text(c.clean_correct),
                    clean ? "-" : percent_text(c.robust),
                    clean ? "-" : fmt::format("{:.1f}-{:.1f}", interval.low, interval.high)});
    if (!leading.empty()) rows.back().push_back(c.leading_accuracy ? fmt::format("{:.1f}", *c.leading_accuracy) : "-");
    rows.back().push_back(versus);
  }
  for (const auto* peer : {&outcome.base, &outcome.control})
    if (*peer) {
      rows.push_back({(*peer)->name, percent_text((*peer)->evaluation.first().clean_correct),
                      percent_text((*peer)->evaluation.first().robust)});
      rows.back().resize(rows.front().size());
    }
  const auto what = options.protocol + (options.effective_version().empty() ? "" : " " + options.effective_version());
  const auto threat =
      options.is("clean") ? "" : fmt::format(", {} eps {}", options.norm, options.eps.substr(0, options.eps.find(',')));
  fmt::print("{}{}, {} images, {:.1f} s\n{}", what, threat, e.first().clean_correct.numel(), e.seconds, table(rows));
  if (e.fast) print_fast(*e.fast);
  for (const auto& c : e.contexts)
    for (const auto& b : c.benign)
      fmt::print("untouched images among {} malicious: {:.1f} % right, {:.1f} % without them\n", b.malicious,
                 share(b.right, b.images), share(b.clean_right, b.images));
  for (const auto& c : e.compositions)
    fmt::print("in batches of {}{}: clean {:.1f} %, robust {:.1f} %\n", c.size, c.by_class ? ", sorted by class" : "",
               c.clean_accuracy, c.robust_accuracy);
  if (const auto& t = e.self_test)
    fmt::print("self-test binarisation: {} found {} of {} planted adversarial images\n", t->attack, t->found,
               t->tested());
  for (const auto& point : outcome.curve)
    fmt::print("robust within {} eps {:g}: {:.1f} %\n", options.norm, point.eps, point.robust_accuracy);
  fmt::print("report: {}\n", report);
}

}  // namespace hpm::app
