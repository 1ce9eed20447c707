#include <algorithm>

#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

/// Images `rows` [m] that were broken within a smaller radius, and stood in the first context.
void take_over(const Evaluation& smaller, const Tensor& rows, double eps, Evaluation& headline) {
  auto& context = headline.contexts.front();
  const auto& finders = smaller.first().broken_by;
  const auto broken = smaller.first().clean_correct & smaller.first().robust.logical_not();
  const auto places = (broken & context.robust.index_select(0, rows)).nonzero().squeeze(1);
  for (int64_t i = 0; i < places.numel(); ++i) {
    const auto from = places.slice(0, i, i + 1), to = rows.index_select(0, from);
    context.adversarial.put(to, smaller.first().adversarial.select(from));
    context.robust.index_fill_(0, to, false);
    if (context.broken_by.empty()) continue;
    auto& by = context.broken_by[static_cast<size_t>(to.item<int64_t>())];
    by = finders.empty() ? Finding{.target = context.context} : finders[static_cast<size_t>(from.item<int64_t>())];
    by.radius = eps;
  }
  if (places.numel() > 0)
    headline.notes.push_back(
        fmt::format("{} images broken within eps {:g} count as broken within the first radius", places.numel(), eps));
}

RadiusOutcome point_of(double eps, const Tensor& robust) {
  return {eps, percent(robust), standard_error(percent(robust), robust.numel())};
}

}  // namespace

std::vector<RadiusOutcome> run_curve(const Examined& examined, std::vector<ThreatModel> radii, Evaluation& headline) {
  const auto& [subject, defence, on, options, work] = examined;
  std::vector<RadiusOutcome> points;
  if (radii.size() < 2) return points;
  const double first = radii.front().eps;
  std::sort(radii.begin(), radii.end(), [](const auto& a, const auto& b) { return a.eps < b.eps; });
  const auto& target = defence.targets().front();
  const bool joint = target.coupling == Coupling::batch;
  auto narrow_options = options;  // nothing else is studied at the other radii
  narrow_options.sweep.clear(), narrow_options.msa.collusion.colluders.clear();
  narrow_options.msa.benign.malicious = {0};
  auto robust = headline.first().clean_correct;
  for (const auto& radius : radii) {
    if (radius.eps == first) {
      robust = joint ? headline.first().robust : robust & headline.first().robust;
    } else if (const auto rows = target.has_company ? at::arange(on.images.size()) : robust.nonzero().squeeze(1);
               rows.numel() > 0) {
      const Work here{work.monitor, work.log.below(fmt::format("eps {}", radius.eps)), work.deadline};
      const auto some = on.images.subset(rows);
      auto narrowed = subject;
      narrowed.defence.sweep.clear();
      const auto other = narrowed.make(some, {options.evaluated_contexts().front()}, here.log);
      const auto found = run_protocol(*other, {some, radius}, narrow_options, here);
      for (auto check : found.checks)  // what is unfinished or suspect there is so here
        if (check.status == CheckOutcome::Status::failed) {
          check.context = fmt::format("eps {:g}", radius.eps);
          headline.checks.push_back(std::move(check));
        }
      const auto held = found.first().robust;
      robust = joint ? held : robust.index_copy(0, rows, robust.index_select(0, rows) & held);
      if (0 < radius.eps && radius.eps < first && !joint) take_over(found, rows, radius.eps, headline);
    }
    points.push_back(point_of(radius.eps, robust));
  }
  return points;
}

}  // namespace hpm
