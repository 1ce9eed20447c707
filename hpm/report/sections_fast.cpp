// What a fast evaluation did: its stages, its alarms, and what it leaves open.
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string stage_table(const ReportedRun& run) {
  if (run.stages.empty()) return "";
  HtmlTable table{.columns = {"Stage", "Attack", "Images", "Broke", "Forward passes", "Backward passes", "Time"},
                  .text_columns = 2};
  int64_t forward = 0, backward = 0;
  double seconds = 0;
  for (const auto& s : run.stages) {
    forward += s.passes, backward += s.backward_passes, seconds += s.seconds;
    const auto images = s.attacked < s.images ? fmt::format("{} of {}", count_text(s.attacked), count_text(s.images))
                                              : count_text(s.images);
    table.rows.push_back({escape_html(s.name), escape_html(s.attack), images, count_text(s.broke), count_text(s.passes),
                          count_text(s.backward_passes), duration_text(s.seconds)});
  }
  table.rows.push_back({"All", "", "", "", count_text(forward), count_text(backward), duration_text(seconds)});
  if (run.autoattack_passes && forward > 0)
    table.caption = typeset(fmt::format(
        "Passes are images through the network. AutoAttack would have taken about {} forward passes, {:.3g} "
        "times those of the stages; the alarms' passes are not counted.",
        count_text(*run.autoattack_passes),
        static_cast<double>(*run.autoattack_passes) / static_cast<double>(forward)));
  return html_table(table);
}

std::string alarm_table(const ReportedRun& run) {
  HtmlTable table{.columns = {"Alarm", "Status", "What was seen", "Measured"}, .text_columns = 3};
  for (const bool fired : {true, false})
    for (const auto& a : run.alarms) {
      if (a.fired != fired) continue;
      const char* status = a.fired ? "failed" : a.value ? "passed" : "not-run";
      const char* word = a.fired ? "fired" : a.value ? "quiet" : "not looked at";
      const auto unit = a.unit.empty() ? "" : " " + a.unit;
      auto measured = a.value ? typeset(fmt::format("{:.3g}{}", *a.value, unit)) : std::string("–");
      if (a.value && a.limit)
        measured += "<small>" + typeset(fmt::format("limit {:.3g}{}", *a.limit, unit)) + "</small>";
      table.rows.push_back({escape_html(a.name), fmt::format("<span class=\"chip s-{}\">{}</span>", status, word),
                            typeset(a.evidence), measured});
    }
  return html_table(table);
}

std::string what_followed(const ReportedRun& run) {
  const bool fired =
      std::any_of(run.alarms.begin(), run.alarms.end(), [](const AlarmResult& alarm) { return alarm.fired; });
  if (run.escalated.value_or(false))
    return "An alarm fired, so the evaluation escalated: stronger attacks went on with every image that stood, and the "
           "verdicts are theirs too.";
  if (fired) return "An alarm fired and nothing followed it, as was asked for: the result is suspect.";
  const bool looked = std::any_of(run.alarms.begin(), run.alarms.end(),
                                  [](const AlarmResult& alarm) { return alarm.value.has_value(); });
  if (!looked) return "No alarm was looked at: the time was up.";
  return "No alarm fired: nothing that was looked at speaks against the attacks by gradient.";
}

std::string bound_text(const ReportedRun& run) {
  if (!run.bound) return "";
  const auto& b = *run.bound;
  return paragraph(fmt::format(
      "{} attacked {} of {} images, drawn at random, and broke {}. Had all of them been attacked so, at most "
      "{} would have broken with 95 % confidence (exact binomial), and robust accuracy would still be at "
      "least {}.",
      b.stage, count_text(b.sampled), count_text(b.of), count_text(b.broke), percent(b.share),
      percent(b.robust_accuracy)));
}

}  // namespace

std::string fast_of(const ReportedRun& run) {
  if (!run.escalated) return "";
  return paragraph(what_followed(run)) + bound_text(run) + stage_table(run) + alarm_table(run);
}

std::string fast(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects)
    if (const auto part = fast_of(c.runs[i]); !part.empty()) out += subject_title(c, i) + part;
  if (out.empty()) return "";
  return heading("fast", "The fast evaluation") +
         paragraph(
             "A short attack comes to AutoAttack's verdicts where gradients tell the truth. The alarms ask whether "
             "they "
             "do.") +
         out;
}

}  // namespace hpm::sections
