// What each surrogate broke.
#include <set>

#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string surrogate_note(const SurrogateResult& s) {
  if (!s.unavailable.empty()) return "not available: " + s.unavailable;
  if (!s.same_as.empty()) return "same as " + s.same_as;
  return "";
}

BarChart surrogate_chart(const ContextResult& c, double width) {
  int64_t most = 1;
  for (const auto& s : c.surrogates) most = std::max({most, s.of, s.broke});
  BarChart chart{.frame = {"What each surrogate broke" + (c.context.empty() ? "" : ", context " + c.context),
                           "Bars: images given to the surrogate, broken by it, and broken by it first.", width},
                 .maximum = static_cast<double>(most),
                 .axis = "images"};
  for (const auto& s : c.surrogates) {
    BarRow row{.label = s.name, .remark = surrogate_note(s)};
    if (row.remark.empty()) {
      row.layers = {{static_cast<double>(s.of), "t-base faint"},
                    {static_cast<double>(s.broke), "t-hpm pale"},
                    {static_cast<double>(s.first), "t-hpm fill"}};
      row.text = fmt::format("{} of {}", s.broke, s.of);
      if (s.of > 0)
        row.text += fmt::format(" ({})", percent(100. * static_cast<double>(s.broke) / static_cast<double>(s.of)));
    }
    chart.rows.push_back(row);
  }
  return chart;
}

std::string context_sentence(const ContextResult& c) {
  std::string out;
  if (c.leading_accuracy && c.robust_accuracy && c.obfuscation_gap) {
    const auto gap = one_decimal(*c.obfuscation_gap), ste = percent(*c.leading_accuracy),
               worst = percent(*c.robust_accuracy);
    out +=
        *c.obfuscation_gap >= kMaskedGradients
            ? fmt::format(
                  "Obfuscation gap {} points: attacked through {} alone the model would seem to keep {}, but {} "
                  "survive the worst case; the difference fell to other surrogates, contexts or starts.",
                  gap, c.leading, ste, worst)
            : fmt::format("Obfuscation gap {} points: {} alone ({} left) already comes near the worst case ({} left).",
                          gap, c.leading, ste, worst);
  }
  std::vector<std::string> complete;
  for (const auto& s : c.surrogates)
    if (s.complete && s.robust_accuracy && s.same_as.empty())
      complete.push_back(s.name + " " + percent(*s.robust_accuracy));
  if (complete.size() > (c.leading_accuracy ? 1 : 0)) {
    out += " On its own, each surrogate that was given every image would have reported: ";
    for (size_t i = 0; i < complete.size(); ++i) out += (i ? ", " : "") + complete[i];
    out += ".";
  }
  int64_t lost = 0, aimed_elsewhere = 0;
  for (const auto& by : c.broken_by) lost += by.images, aimed_elsewhere += by.elsewhere ? by.images : 0;
  if (aimed_elsewhere > 0)
    out += fmt::format(" Of the {} images lost, {} fell to images made for another context of this run.",
                       count_text(lost), count_text(aimed_elsewhere));
  if (c.joint_any)
    out +=
        fmt::format(" Counting an image as broken when any attacked batch breaks it leaves {}.", percent(*c.joint_any));
  if (c.worst_draw)
    out += fmt::format(" Right in every draw of the company, at every iterate: {}.", percent(*c.worst_draw));
  return out;
}

std::string surrogate_context(const ContextResult& c) {
  std::string out;
  if (!c.context.empty()) out += "<h3>Context " + escape_html(c.context) + "</h3>";
  const auto sentence = context_sentence(c);
  if (!sentence.empty()) out += paragraph(sentence);
  out += "<figure>" + responsive([&](double width) { return bar_chart(surrogate_chart(c, width)); }) + "</figure>";
  return out + "\n" + collusion_table(c) + benign_table(c);
}

/// Explains the surrogates that occur, in the order in which they attacked.
std::string surrogate_glossary(const Comparison& c, const std::vector<size_t>& runs) {
  std::string out;
  std::set<std::string> seen;
  for (size_t i : runs)
    for (const auto& context : c.runs[i].contexts)
      for (const auto& s : context.surrogates)
        if (!s.summary.empty() && seen.insert(s.name).second)
          out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(s.name), typeset(escape_html(s.summary)));
  return out.empty() ? "" : folded("What the surrogates are", "<dl>" + out + "</dl>");
}

}  // namespace

std::string surrogates_of(const ReportedRun& run) {
  std::string out;
  for (const auto& context : run.contexts)
    if (!context.surrogates.empty()) out += surrogate_context(context);
  return out + composition_table(run);
}

std::string surrogate_key(const Comparison& c, const std::vector<size_t>& runs) {
  return "<p class=\"key\">" + key_entry("t-hpm", "broken by it first") + key_entry("t-hpm", "broken by it", true) +
         key_entry("t-base", "images it was given", true) + "</p>\n" + surrogate_glossary(c, runs);
}

std::string surrogates(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects)
    if (const auto part = surrogates_of(c.runs[i]); !part.empty()) out += subject_title(c, i) + part;
  if (out.empty()) return "";
  return heading("surrogates", "What each surrogate broke") +
         paragraph(
             "A surrogate is a differentiable stand-in that the attacker follows; whether it succeeded is always "
             "judged "
             "on the true prediction. An image counts as robust only if every surrogate failed on it.") +
         surrogate_key(c, c.subjects) + out;
}

}  // namespace hpm::sections
