// What each attack of a sequence broke: runs without surrogates (PGD, AutoAttack, plain models under MSA).
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

struct Step {
  std::string name;
  int64_t given, left;
  const AttackPass* pass;
};

/// The attacks that follow one another on the survivors; none where surrogates took turns, or accuracies are missing.
std::vector<Step> steps_of(const ReportedRun& run) {
  std::vector<Step> steps;
  // The stages of a fast evaluation choose their images: they have a table of their own.
  if (!run.headline().clean_accuracy || !run.headline().surrogates.empty() || !run.stages.empty()) return steps;
  const auto images = [&](double accuracy) { return std::llround(accuracy / 100 * static_cast<double>(run.n)); };
  int64_t standing = images(*run.headline().clean_accuracy);
  for (const auto& pass : run.attacks) {
    if (!pass.robust_accuracy) return {};
    const int64_t left = images(*pass.robust_accuracy);
    steps.push_back({pass.name, standing, left, &pass});
    standing = left;
  }
  return steps;
}

BarChart chart_of(const std::vector<Step>& steps, int64_t n, double width) {
  BarChart chart{.frame = {"What each attack broke", "Bars: images given to the attack, and broken by it.", width},
                 .maximum = static_cast<double>(std::max<int64_t>(steps.front().given, 1)),
                 .axis = "images"};
  for (const auto& s : steps) {
    const int64_t broke = s.given - s.left;
    chart.rows.push_back(
        {.label = s.name,
         .layers = {{static_cast<double>(s.given), "t-base faint"}, {static_cast<double>(broke), "t-hpm fill"}},
         .text = fmt::format("{} of {}, {} left", broke, s.given,
                             percent(100. * static_cast<double>(s.left) / static_cast<double>(n)))});
  }
  return chart;
}

}  // namespace

std::string attacks_of(const ReportedRun& run) {
  const auto steps = steps_of(run);
  if (steps.empty()) return "";
  return "<figure>" + responsive([&](double width) { return bar_chart(chart_of(steps, run.n, width)); }) +
         "</figure>\n";
}

std::string attacks(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects)
    if (const auto part = attacks_of(c.runs[i]); !part.empty()) out += subject_title(c, i) + part;
  if (out.empty()) return "";
  return heading("attacks", "What each attack broke") +
         paragraph(
             "Each attack gets the images that those before it have not broken, and starts from the originals. Passes "
             "and time of "
             "each stand under Configuration and reproduction.") +
         "<p class=\"key\">" + key_entry("t-hpm", "broken by it") + key_entry("t-base", "images it was given", true) +
         "</p>\n" + out;
}

}  // namespace hpm::sections
