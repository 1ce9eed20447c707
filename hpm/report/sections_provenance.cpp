// The checks, and where the numbers come from: commands, configuration, environment, cost.
#include "hpm/report/html.h"

#include <nlohmann/json.hpp>

#include "hpm/core/json_impl.h"
#include "hpm/evaluation/checks/advice.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {
namespace {

std::string status_chip(const std::string& status) {
  const auto known = check_severity(status) > 0 ? status : status == "not run" ? "not-run" : "other";
  return fmt::format("<span class=\"chip s-{}\">{}</span>", known, escape_html(status));
}

std::string measured(const CheckResult& check) {
  if (!check.value) return "–";
  const auto unit = check.unit.empty() ? "" : " " + check.unit;
  auto out = typeset(fmt::format("{:.3g}{}", *check.value, unit));
  if (check.limit) out += "<small>" + typeset(fmt::format("limit {:.3g}{}", *check.limit, unit)) + "</small>";
  return out;
}

std::string seen_and_meant(const CheckResult& check) {
  const auto small = [](const std::string& text) { return text.empty() ? "" : "<small>" + typeset(text) + "</small>"; };
  auto out = typeset(check.detail) + small(meaning_of_check(check.name));
  if (check.status == "failed" && !advice_for(check.name).empty())
    out += small("What to do next: " + advice_for(check.name));
  if (!check.cause.empty()) out += small("Cause: " + check.cause + ". Attack it with: " + check.surrogates + ".");
  return out;
}

}  // namespace

std::string checks_of(const ReportedRun& run) {
  if (run.checks.empty()) return "";
  auto checks = run.checks;
  std::stable_sort(checks.begin(), checks.end(),
                   [](const auto& a, const auto& b) { return check_severity(a.status) > check_severity(b.status); });
  HtmlTable table{.columns = {"Check", "Status", "What was seen, and what it means", "Measured"}, .text_columns = 3};
  for (const auto& check : checks)
    table.rows.push_back(
        {escape_html(check.name) + (check.context.empty() ? "" : "<small>" + escape_html(check.context) + "</small>"),
         status_chip(check.status), seen_and_meant(check), measured(check)});
  return html_table(table);
}

std::string check_summary(const ReportedRun& run) {
  std::map<std::string, int> counts;
  for (const auto& check : run.checks) ++counts[check.status];
  std::string out;
  for (const char* status : {"failed", "reported", "passed", "not run"})
    if (counts[status]) out += (out.empty() ? "" : ", ") + fmt::format("{} {}", counts[status], status);
  return out;
}

namespace {

std::string attack_table(const ReportedRun& run) {
  if (run.attacks.empty()) return "";
  HtmlTable table{.columns = {"Attack", "Through", "Left after it", "Forward passes", "Backward passes", "Time"},
                  .text_columns = 2};
  int64_t forward = 0, backward = 0;
  double seconds = 0;
  for (const auto& a : run.attacks) {
    forward += a.forward_passes, backward += a.backward_passes, seconds += a.seconds;
    const auto through = a.surrogate.empty() ? "the model" : a.surrogate;
    table.rows.push_back({escape_html(a.name), escape_html(through + (a.context.empty() ? "" : ", " + a.context)),
                          a.robust_accuracy ? typeset(percent(*a.robust_accuracy)) : "–", count_text(a.forward_passes),
                          count_text(a.backward_passes), duration_text(a.seconds)});
  }
  table.rows.push_back({"All", "", "", count_text(forward), count_text(backward), duration_text(seconds)});
  table.caption = "Passes are images through the network.";
  return html_table(table);
}

void flatten(const nlohmann::json& json, const std::string& prefix, std::vector<std::vector<std::string>>& rows) {
  for (const auto& [key, value] : json.items()) {
    const auto name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) flatten(value, name, rows);
    else
      rows.push_back({escape_html(name), escape_html(value.is_string() ? value.get<std::string>() : json_text(value))});
  }
}

std::string pairs_table(const std::vector<std::vector<std::string>>& rows) {
  return html_table({.columns = {"Name", "Value"}, .rows = rows, .classes = "pairs", .text_columns = 2});
}

std::string model_table(const ReportedRun& run) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, escape_html(value)});
  };
  add("Model", run.model);
  add("SHA-256", run.model_info.sha256);
  add("Architecture", run.model_info.architecture);
  if (run.model_info.parameters > 0) add("Parameters", count_text(run.model_info.parameters));
  add("Head",
      run.model_info.head + (run.model_info.lambda ? fmt::format(", lambda {:g}", *run.model_info.lambda) : ""));
  add("Metric", run.model_info.metric);
  add("Images", fmt::format("{} {}, {} from {}", run.dataset, run.split, count_text(run.n),
                            run.indices.empty() ? fmt::format("number {}", run.first_index) : "a list of indices"));
  add("Threat", run.protocol == "clean" ? "none" : fmt::format("{}, eps {}", run.norm, radius_text(run.eps)));
  add("Protocol", run.protocol + (run.version.empty() ? "" : " " + run.version));
  if (run.company) add("Company", fmt::format("{} images, seed {}", run.company->size, run.company->seed));
  add("Seed", fmt::format("{}", run.seed));
  if (run.quantised) add("On images rounded to 8 bits", percent(run.quantised->robust_accuracy) + " robust");
  if (run.protocol != "analysis") add("Borderline verdicts", fmt::format("{} re-judged alone", run.borderline));
  add("Time", run.seconds ? duration_text(*run.seconds) + fmt::format(" on {} threads", run.threads) : "");
  add("Started", run.started);
  add("hpm", run.hpm_version + (run.commit.empty() ? "" : ", commit " + run.commit));
  return pairs_table(rows);
}

}  // namespace

std::string shell_word(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                          "._/-=,+@:") == std::string::npos;
  if (plain) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

namespace {

std::string reproduce_command(const ReportedRun& run, const RunFiles& files) {
  return std::string(run.protocol == "analysis" ? "hpm analyze" : "hpm evaluate") + " --config " +
         shell_word(files.directory + "/config.toml") + " --out " + shell_word(files.directory + "-again");
}

}  // namespace

std::string folded(const std::string& title, const std::string& content) {
  return content.empty() ? "" : "<details><summary>" + title + "</summary>" + content + "</details>\n";
}

std::string settings_of(const ReportedRun& run, const RunFiles& files) {
  return model_table(run) +
         (files.config.empty() ? "" : "<pre>" + escape_html(reproduce_command(run, files)) + "</pre>\n");
}

std::string provenance_of(const ReportedRun& run, const RunFiles& files) {
  std::vector<std::vector<std::string>> environment;
  if (files.environment.is_object()) flatten(files.environment, "", environment);
  return settings_of(run, files) + folded("Attacks, passes and seconds", attack_table(run)) +
         folded("config.toml", files.config.empty() ? "" : "<pre>" + escape_html(files.config) + "</pre>") +
         folded("Environment", environment.empty() ? "" : pairs_table(environment));
}

std::string checks(const Comparison& c) {
  std::string out, others;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    if (run.checks.empty()) continue;
    const bool subject = std::find(c.subjects.begin(), c.subjects.end(), i) != c.subjects.end();
    if (subject) out += subject_title(c, i) + checks_of(run);
    else others += folded(escape_html(run.title) + ": " + escape_html(check_summary(run)), checks_of(run));
  }
  out += others;
  if (out.empty()) return "";
  return heading("checks", "Checks") +
         paragraph(
             "An evaluation can fail silently: an attack that does not work leaves every image standing. These checks "
             "ask whether the attacks did their work; one failure makes the result suspect.") +
         out;
}

std::string provenance(const Comparison& c, const std::vector<RunFiles>& files) {
  std::string out = heading("provenance", "Configuration and reproduction");
  std::string others;
  for (size_t i = 0; i < c.runs.size(); ++i) {
    const auto& run = c.runs[i];
    const auto content = provenance_of(run, files[run.source]);
    const bool subject = std::find(c.subjects.begin(), c.subjects.end(), i) != c.subjects.end();
    if (subject) out += "<h3>" + escape_html(run.title) + "</h3>\n" + content;
    else others += folded(escape_html(run.title), content);
  }
  out += others;
  return out;
}

}  // namespace hpm::sections
