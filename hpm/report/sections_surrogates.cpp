// What each surrogate broke.
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
  if (c.ste_accuracy && c.robust_accuracy && c.obfuscation_gap) {
    const auto gap = one_decimal(*c.obfuscation_gap), ste = percent(*c.ste_accuracy),
               worst = percent(*c.robust_accuracy);
    out +=
        *c.obfuscation_gap >= kMaskedGradients
            ? fmt::format(
                  "Obfuscation gap {} points: attacked through STE alone the model would seem to keep {}, but {} "
                  "survive the worst case; the difference fell to other surrogates, contexts or starts.",
                  gap, ste, worst)
            : fmt::format("Obfuscation gap {} points: STE alone ({} left) already comes near the worst case ({} left).",
                          gap, ste, worst);
  }
  std::vector<std::string> complete;
  for (const auto& s : c.surrogates)
    if (s.complete && s.robust_accuracy && s.same_as.empty())
      complete.push_back(s.name + " " + percent(*s.robust_accuracy));
  if (complete.size() > (c.ste_accuracy ? 1 : 0)) {
    out += " On its own, each surrogate that was given every image would have reported: ";
    for (size_t i = 0; i < complete.size(); ++i) out += (i ? ", " : "") + complete[i];
    out += ".";
  }
  int64_t lost = 0, aimed_elsewhere = 0;
  for (const auto& [by, images] : c.broken_by)
    lost += images, aimed_elsewhere += by.find(" in ") != std::string::npos ? images : 0;
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
  return out + "\n" + collusion_table(c);
}

struct SurrogateMeaning {
  const char *name, *meaning;
};

constexpr SurrogateMeaning kSurrogates[] = {
    {"ste", "HPM as it is trained: hard assignment forward, soft gradient backward (straight-through estimator)"},
    {"hard", "the assignment held fixed: the exact local gradient"},
    {"soft", "soft assignment in both directions, at several temperatures"},
    {"detached", "the prototypes held fixed"},
    {"fc", "the FC logits alone: changes the assignment"},
    {"stable", "the stored prototypes alone (lambda = 1)"},
    {"region", "stays in, or enters, the FC region of one class and wins the HPM margin there"},
    {"base", "adversarial images of the model before fine-tuning"},
    {"control", "adversarial images of the matched control"},
    {"mean", "the average of the HPM-side surrogates' logits"},
    {"query", "no gradient: random search on the true margin"},
};

/// Explains the surrogates that occur, in the table's order.
std::string surrogate_glossary(const Comparison& c) {
  std::string out;
  for (const auto& [name, meaning] : kSurrogates) {
    bool occurs = false;
    for (size_t i : c.subjects)
      for (const auto& context : c.runs[i].contexts)
        for (const auto& s : context.surrogates) occurs = occurs || s.name.rfind(name, 0) == 0;
    if (occurs) out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, typeset(meaning));
  }
  return out.empty() ? "" : "<details><summary>What the surrogates are</summary><dl>" + out + "</dl></details>\n";
}

}  // namespace

std::string surrogates(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects) {
    const auto& run = c.runs[i];
    std::string contexts;
    for (const auto& context : run.contexts)
      if (!context.surrogates.empty()) contexts += surrogate_context(context);
    if (!contexts.empty()) out += subject_title(c, i) + contexts;
  }
  if (out.empty()) return "";
  return heading("surrogates", "What each surrogate broke") +
         paragraph(
             "A surrogate is a differentiable stand-in that the attacker follows; whether it succeeded is always "
             "judged "
             "on the true prediction. An image counts as robust only if every surrogate failed on it.") +
         "<p class=\"key\">" + key_entry("t-hpm", "broken by it first") + key_entry("t-hpm", "broken by it", true) +
         key_entry("t-base", "images it was given", true) + "</p>\n" + surrogate_glossary(c) + out;
}

}  // namespace hpm::sections
