// The runs of an overview one by one, each folded away. What is large is left to a run's own page where they are many.
#include "hpm/evaluation/checks/advice.h"
#include "hpm/report/html.h"
#include "hpm/report/overview_impl.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string part(const char* title, const std::string& content) {
  return content.empty() ? "" : fmt::format("<h3>{}</h3>\n{}", title, content);
}

std::string checks_in_short(const ReportedRun& run) {
  if (run.checks.empty()) return "";
  std::string out = paragraph("Checks: " + check_summary(run) + ".");
  std::string failed;
  for (const auto& check : run.checks)
    if (check.status == "failed")
      failed += "<li>" +
                typeset(check.name + (check.context.empty() ? "" : ", " + check.context) + ": " + check.detail) +
                "</li>\n";
  return failed.empty() ? out : out + "<ul>\n" + failed + "</ul>\n";
}

std::string command_of_own_page(const RunFiles& files) {
  return "hpm report " + shell_word(files.directory) + " --html " + shell_word(files.directory + "/report.html");
}

/// Verdict, checks and settings.
std::string short_parts(const Comparison& c, size_t i, const RunFiles& files) {
  const auto& run = c.runs[i];
  return verdict_of_run(c, i, "", false) + checks_in_short(run) + settings_of(run, files) +
         "<p class=\"note\">Charts, gallery and configuration:</p>\n<pre>" + escape_html(command_of_own_page(files)) +
         "</pre>\n";
}

std::string all_parts(const Comparison& c, size_t i, const RunFiles& files) {
  const auto& run = c.runs[i];
  const auto surrogates = surrogates_of(run);
  return verdict_of_run(c, i, "") + part("The faces of one model", faces_of(run)) +
         part("What each surrogate broke", surrogates.empty() ? "" : surrogate_key(c, {i}) + surrogates) +
         part("The fast evaluation", fast_of(run)) + part("What each attack broke", attacks_of(run)) +
         part("Accuracy against lambda: upper bounds but where attacked", sweep_of(run)) +
         part("By class", classes_of(c, i)) + part("Gallery", gallery_of(run, files)) + part("Checks", checks_of(run)) +
         part("Configuration and reproduction", provenance_of(run, files));
}

std::string summary_of(const ReportedRun& run) {
  const auto numbers = figures_text(run);
  return escape_html(run.title) + (is_suspect(run) ? " <span class=\"chip s-failed\">suspect</span>" : "") +
         (numbers.empty() ? "" : "<small>" + typeset(numbers) + "</small>");
}

}  // namespace

std::string run_list(const Comparison& c, const std::vector<RunFiles>& files) {
  const bool brief = c.runs.size() > kMostGalleries;
  auto out = heading("runs", "Run by run");
  if (brief)
    out += paragraph(
        fmt::format("With more than {} runs this page has no galleries, and no charts of single runs. A run's own page "
                    "has them: report.html in its folder, or what the command under each run writes.",
                    kMostGalleries));
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run_files = files[c.runs[i].source];
    out += fmt::format("<details class=\"run\"><summary>{}</summary><div id=\"run-{}\">\n{}</div></details>\n",
                       summary_of(c.runs[i]), i + 1, brief ? short_parts(c, i, run_files) : all_parts(c, i, run_files));
  }
  return out;
}

}  // namespace hpm::sections
