// The verdict, the side-by-side table and the two faces of an HPM model.
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/sections_impl.h"
#include "hpm/report/verdict_impl.h"

namespace hpm::sections {
namespace {

/// The figures of the run and of its control; what a failed check makes doubtful is marked. `control`: its own run.
std::string tiles(const ReportedRun& run, const ReportedRun* control) {
  const auto& c = run.headline();
  const bool own = is_suspect(run), theirs = control && is_suspect(*control);
  std::string out;
  const auto tile = [&](const std::string& tone, const std::string& number, const std::string& under, bool suspect) {
    out += fmt::format("<div class=\"{}\"><b>{}</b><span>{}</span></div>", tone, typeset(number),
                       typeset((suspect ? "suspect: " : "") + under));
  };
  const auto figure = [](const std::optional<Interval>& i) { return i ? ", 95 %: " + span_text(*i) : ""; };
  if (c.robust_accuracy)
    tile(role_tone(run.role), percent(*c.robust_accuracy),
         fmt::format("{}, robust accuracy{}", run.title, figure(c.interval)), own);
  if (c.control && c.control->robust_accuracy && run.role != "control") {
    tile("t-control", percent(*c.control->robust_accuracy), "matched control, robust accuracy", theirs);
    if (c.control->difference)
      tile("", points(*c.control->difference),
           "points of difference" +
               (c.control->difference_interval ? ", 95 %: " + range_text(*c.control->difference_interval) : ""),
           own || theirs);
  }
  if (c.clean_accuracy)
    tile("", percent(*c.clean_accuracy), fmt::format("{}, clean accuracy{}", run.title, figure(c.clean_interval)),
         false);
  return "<div class=\"tiles\">" + out + "</div>";
}

/// What a difference is to: the control, or the reference.
struct Against {
  std::optional<PairedModel> ModelRow::*paired;
  bool ModelRow::*doubtful;
  bool of_any(const Comparison& c) const {
    return std::any_of(c.rows.begin(), c.rows.end(), [&](const ModelRow& row) { return (row.*paired).has_value(); });
  }
};
constexpr Against kControl{&ModelRow::control, &ModelRow::doubtful};
constexpr Against kReference{&ModelRow::reference, &ModelRow::reference_doubtful};

/// What the table says of a difference; the chart's dots say the same.
const char* difference_words(const PairedModel& paired, bool doubtful) {
  if (doubtful) return "suspect";
  switch (difference_of(paired)) {
    case Difference::gain: return "more robust";
    case Difference::loss: return "less robust";
    case Difference::not_detectable: return "not detectable";
    case Difference::not_tested: break;
  }
  return "not tested";
}

std::string difference_cell(const ModelRow& row, const Against& against) {
  const auto& paired = row.*against.paired;
  if (!paired || !paired->difference) return "–";
  auto out = typeset(points(*paired->difference));
  std::string evidence;
  if (paired->difference_interval) evidence = range_text(*paired->difference_interval);
  if (paired->p) evidence += (evidence.empty() ? "" : ", ") + p_text(*paired->p);
  if (!evidence.empty()) out += "<small>" + typeset(evidence) + "</small>";
  return out + "<small>" + difference_words(*paired, row.*against.doubtful) + "</small>";
}

std::string control_cell(const ModelRow& row) {
  return row.role == "control" ? "<small>is the control</small>" : difference_cell(row, kControl);
}

std::string reference_cell(const Comparison& c, const ModelRow& row) {
  const bool itself = c.reference && row.run == c.reference && !row.reference;
  return itself ? "<small>is the reference</small>" : difference_cell(row, kReference);
}

std::string row_label(const ModelRow& row) { return row.title + (row.context.empty() ? "" : ", " + row.context); }

/// With an overview the name leads to the run's own part.
std::string name_cell(const Comparison& c, const ModelRow& row) {
  auto title = escape_html(row.title);
  if (is_overview(c) && row.run) title = fmt::format("<a href=\"#run-{}\">{}</a>", *row.run + 1, title);
  auto name = fmt::format("<i class=\"dot {}\"></i>{}", role_tone(row.role), title);
  if (row.suspect) name += " <span class=\"chip s-failed\">suspect</span>";
  if (row.context == kEveryContext) return name + "<small>" + kEveryContext + "</small>";
  return name + (row.context.empty() ? "" : "<small>context " + escape_html(row.context) + "</small>");
}

std::string difference_chart(const Comparison& c, const Against& against, IntervalChart chart,
                             const std::function<std::string(const ModelRow&)>& tone_of, std::string caption) {
  chart.axis = "points of robust accuracy";
  for (const auto& row : c.rows) {
    const auto& paired = row.*against.paired;
    const auto tone = tone_of(row);
    if (tone.empty() || !paired || !paired->difference) continue;
    const auto shown = difference_of(*paired);
    const bool doubtful = row.*against.doubtful;
    const bool detected = !doubtful && (shown == Difference::gain || shown == Difference::loss);
    chart.rows.push_back({row_label(row), tone, points(*paired->difference) + (doubtful ? ", suspect" : ""),
                          *paired->difference, paired->difference_interval, detected});
    if (row.subject && !chart.band) chart.band = paired->smallest_detectable;
  }
  if (chart.rows.empty()) return "";
  const auto figure = responsive([&](double width) {
    chart.frame.width = width;
    return interval_chart(chart);
  });
  caption +=
      std::string(chart.band ? "; a true difference inside the grey band is found with less than 80 % probability."
                             : ".") +
      " A full dot is a detectable difference (the interval excludes 0 and McNemar's p is under .05), a ring is "
      "none, or a suspect one.";
  return "<figure>" + figure + "<figcaption>" + typeset(caption) + "</figcaption></figure>\n";
}

std::string control_chart(const Comparison& c) {
  return difference_chart(
      c, kControl,
      {.frame = {"Difference to the matched control", "Points of robust accuracy with 95 % intervals."},
       .left = "worse than the control",
       .right = "better"},
      [](const ModelRow& row) { return role_tone(row.role); },
      "Robust accuracy minus the control's, on the same images. The zero line is the model that was fine-tuned in the "
      "same way without the defence");
}

}  // namespace

std::string reference_chart(const Comparison& c, const std::function<std::string(const ModelRow&)>& tone_of) {
  if (!c.reference) return "";
  const auto& name = c.runs[*c.reference].title;
  return difference_chart(c, kReference,
                          {.frame = {"Difference to " + name, "Points of robust accuracy with 95 % intervals."},
                           .left = "worse than the reference",
                           .right = "better"},
                          tone_of,
                          fmt::format("Robust accuracy minus that of the reference, {}, on the same images", name));
}

std::string models_table(const Comparison& c) {
  const bool compared = kControl.of_any(c), referred = kReference.of_any(c);
  HtmlTable table{.columns = {"Model", "n", "Clean", "Robust, worst case"}, .sortable = true};
  std::string caption =
      "Percent of the images, with 95 % Wilson intervals. Robust: still classified correctly after "
      "everything that attacked the model.";
  if (compared) {
    table.columns.push_back("Difference to control");
    caption +=
        " Difference: points against the matched control on the same images, 95 % interval, McNemar's exact test.";
  }
  if (referred) {
    table.columns.push_back("Difference to reference");
    caption += fmt::format(" Reference: {}, on the same images, in the same way.", c.runs[*c.reference].title);
  }
  table.caption = typeset(caption);
  for (const auto& row : c.rows) {
    const auto& run = c.runs[row.run.value_or(c.subjects.front())];
    std::vector<std::string> cells = {name_cell(c, row), count_text(run.n),
                                      with_interval(row.clean, row.clean_interval),
                                      with_interval(row.robust, row.interval)};
    if (compared) cells.push_back(control_cell(row));
    if (referred) cells.push_back(reference_cell(c, row));
    table.rows.push_back(cells);
    table.row_classes.push_back(row.subject && !is_overview(c) ? "mine" : "");
  }
  return html_table(table);
}

namespace {

std::string accuracy_chart(const Comparison& c) {
  const auto figure = responsive([&](double width) {
    BarChart chart{.frame = {"Clean and robust accuracy, side by side",
                             "Horizontal bars; the table above holds the same "
                             "numbers.",
                             width},
                   .axis = "% of the images"};
    for (const auto& row : c.rows) {
      if (!row.clean && !row.robust) continue;
      BarRow bar{.label = row_label(row), .whisker = row.interval};
      if (row.clean) bar.layers.push_back({*row.clean, role_tone(row.role) + " pale"});
      if (row.robust) bar.layers.push_back({*row.robust, role_tone(row.role) + " fill"});
      if (row.robust) bar.text = one_decimal(*row.robust);
      chart.rows.push_back(bar);
    }
    return bar_chart(chart);
  });
  return "<figure>" + figure + "<figcaption>" +
         typeset(
             "Pale: clean accuracy. Full: robust accuracy, worst case, with its "
             "95 % interval.") +
         "</figcaption></figure>\n";
}

const char* context_meaning(const std::string& context) {
  if (context == "reference")
    return "prototypes of a stored calibration set: deployment, exactly a re-fitted linear layer";
  if (context == "alone") return "a batch of one: no neighbours";
  if (context == "solo") return "one attacker among the clean images of its batch";
  if (context == "solo-eot") return "the same in a batch drawn at random: the vote of ten draws";
  if (context == "joint") return "the whole batch attacked together: the paper's forward pass";
  return "";
}

}  // namespace

std::string faces_of(const ReportedRun& run) {
  if (run.role != "hpm" || run.contexts.size() < 2) return "";
  HtmlTable table{.columns = {"Context", "Clean", "Robust, worst case", "Leading surrogate alone", "Masked"}};
  for (const auto& c : run.contexts)
    table.rows.push_back({escape_html(c.context) + "<small>" + context_meaning(c.context) + "</small>",
                          with_interval(c.clean_accuracy, c.clean_interval),
                          with_interval(c.robust_accuracy, c.interval),
                          c.leading_accuracy ? typeset(percent(*c.leading_accuracy)) : "–",
                          c.obfuscation_gap ? typeset(points(*c.obfuscation_gap)) : "–"});
  return html_table(table);
}

std::string verdict_of_run(const Comparison& c, size_t i, const std::string& title, bool with_tiles) {
  const auto& run = c.runs[i];
  const auto* control = c.control && *c.control != i ? &c.runs[*c.control] : nullptr;
  const auto verdict = verdict_of(run, control);
  std::string remarks;
  for (const auto& remark : verdict.remarks) remarks += "<li>" + typeset(remark) + "</li>\n";
  return fmt::format(
      "<section class=\"verdict is-{}\">{}<span class=\"chip\">{}</span>\n<p class=\"say\">{}</p>\n{}<ul>\n{}"
      "</ul>\n</section>\n",
      verdict.name(), title, verdict.title(), typeset(verdict.sentence), with_tiles ? tiles(run, control) : "",
      remarks);
}

std::string verdicts(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects) out += verdict_of_run(c, i, subject_title(c, i));
  if (c.subjects.size() > 1)
    out += "<p class=\"note\">" +
           typeset(fmt::format("{} models are judged at 5 % each: with that many, a difference by "
                               "chance alone becomes likelier.",
                               c.subjects.size())) +
           "</p>\n";
  for (const auto& warning : c.warnings) out += "<p class=\"note alert\">" + typeset(warning) + "</p>\n";
  return out;
}

std::string side_by_side(const Comparison& c) {
  return heading("models", c.rows.size() > 1 ? "Side by side" : "Accuracy") + models_table(c) + control_chart(c) +
         reference_chart(c, [](const ModelRow& row) { return role_tone(row.role); }) + accuracy_chart(c);
}

std::string faces(const Comparison& c) {
  std::string out;
  for (size_t i : c.subjects) {
    const auto table = faces_of(c.runs[i]);
    if (table.empty()) continue;
    if (out.empty())
      out = heading("faces", "The faces of one model") +
            paragraph(
                "What HPM predicts depends on the company an image keeps, so the same weights are several models. In "
                "reference context HPM is a re-fitted linear layer; what is dynamic lives in the other contexts. "
                "Alone, with a small lambda, it predicts as the FC layer does on nearly every image, with masked "
                "gradients; in large batches it behaves like a nearest-mean classifier.");
    out += subject_title(c, i) + table;
  }
  return out;
}

}  // namespace hpm::sections
