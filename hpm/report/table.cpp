#include "hpm/report/table_impl.h"

#include "hpm/core/error.h"
#include "hpm/report/report_impl.h"

namespace hpm {
namespace {

using Cells = std::vector<std::string>;

std::string accuracy_text(const std::optional<double>& value, const std::optional<Interval>& interval) {
  if (!value) return "";
  return one_decimal(*value) + (interval ? " (" + span_text(*interval) + ")" : "");
}

std::string difference_text(const ModelRow& row) {
  if (row.suspect) return "suspect: not drawn";
  if (row.role == "control") return "0";
  if (!row.control || !row.control->difference) return "";
  Cells evidence;
  if (row.control->difference_interval) evidence.push_back(range_text(*row.control->difference_interval));
  if (row.control->p) evidence.push_back(p_text(*row.control->p));
  return points(*row.control->difference) + (evidence.empty() ? "" : fmt::format(" ({})", fmt::join(evidence, "; ")));
}

const Cells kColumns{
    "model", "context", "clean %", "robust %, worst case", "ste alone minus worst case", "against the control"};

/// One row in the words of kColumns.
Cells words(const ModelRow& row) {
  auto context = row.context;
  if (row.joint_any) context += fmt::format(" (any attacked batch: {})", one_decimal(*row.joint_any));
  return {row.title,
          context,
          accuracy_text(row.clean, row.clean_interval),
          accuracy_text(row.robust, row.interval),
          row.gap ? one_decimal(*row.gap) : "",
          difference_text(row)};
}

/// What was measured, and what must not be compared.
Cells notes(const Comparison& c) {
  const auto& run = c.runs[c.subjects.front()];
  const auto name = [](const std::string& a, const std::string& b) { return b.empty() ? a : a + " " + b; };
  auto measured = fmt::format("{}, {} images", name(run.dataset, run.split), count_text(run.n));
  if (run.protocol != "clean")
    measured +=
        fmt::format(", {} {}, {}, seed {}", run.norm, radius_text(run.eps), name(run.protocol, run.version), run.seed);
  Cells out{
      measured +
      ". Accuracies in percent with Wilson's 95 % intervals; against the control: points on the same images, 95 % "
      "interval, McNemar's exact p."};
  out.insert(out.end(), c.warnings.begin(), c.warnings.end());
  return out;
}

/// `text` with the characters that mean something to the format replaced.
std::string replaced(const std::string& text, const std::vector<std::pair<char, std::string>>& specials) {
  std::string out;
  for (char c : text) {
    const auto found = std::find_if(specials.begin(), specials.end(), [&](const auto& s) { return s.first == c; });
    out += found == specials.end() ? std::string(1, c) : found->second;
  }
  return out;
}

std::string markdown(const Comparison& c) {
  const auto line = [](const Cells& cells) {
    std::string out = "|";
    for (const auto& cell : cells)
      out += " " + replaced(cell, {{'|', "\\|"}, {'\n', " "}}) + (cell.empty() ? "|" : " |");
    return out + "\n";
  };
  auto out = line(kColumns) + "|---|---|---|---|---|---|\n";
  const auto plain = [](const std::string& text) { return replaced(text, {{'<', "&lt;"}}); };  // names may hold HTML
  for (const auto& row : c.rows) {
    auto cells = words(row);
    cells.front() = plain(cells.front());
    out += line(cells);
  }
  for (const auto& note : notes(c)) out += "\n" + plain(note) + "\n";
  return out;
}

std::string latex(const Comparison& c) {
  const auto line = [](const Cells& cells) {
    Cells escaped;
    for (const auto& cell : cells)
      escaped.push_back(replaced(cell, {{'&', "\\&"},
                                        {'%', "\\%"},
                                        {'_', "\\_"},
                                        {'#', "\\#"},
                                        {'$', "\\$"},
                                        {'{', "\\{"},
                                        {'}', "\\}"},
                                        {'~', "\\textasciitilde{}"},
                                        {'^', "\\textasciicircum{}"},
                                        {'\\', "\\textbackslash{}"},
                                        {'<', "$<$"},
                                        {'\n', " "}}));
    return fmt::format("{}", fmt::join(escaped, " & ")) + " \\\\\n";
  };
  std::string out;
  for (const auto& note : notes(c)) out += "% " + replaced(note, {{'\n', " "}}) + "\n";
  out += "\\begin{tabular}{llllll}\n\\toprule\n" + line(kColumns) + "\\midrule\n";
  for (const auto& row : c.rows) out += line(words(row));
  return out + "\\bottomrule\n\\end{tabular}\n";
}

std::string csv(const Comparison& c) {
  const auto line = [](const Cells& cells) {
    Cells quoted;
    for (const auto& cell : cells)
      quoted.push_back(
          cell.find_first_of(",\"\n\r") == std::string::npos ? cell : '"' + replaced(cell, {{'"', "\"\""}}) + '"');
    return fmt::format("{}\n", fmt::join(quoted, ","));
  };
  const auto number = [](const auto& value) { return value ? fmt::format("{:.6g}", *value) : std::string(); };
  const auto low = [](const auto& interval) { return interval ? fmt::format("{:.6g}", interval->low) : std::string(); };
  const auto high = [](const auto& interval) {
    return interval ? fmt::format("{:.6g}", interval->high) : std::string();
  };
  auto out = line({"model",
                   "role",
                   "run",
                   "context",
                   "suspect",
                   "dataset",
                   "split",
                   "n",
                   "norm",
                   "eps",
                   "protocol",
                   "version",
                   "seed",
                   "metric",
                   "lambda",
                   "clean",
                   "clean_low",
                   "clean_high",
                   "robust",
                   "robust_low",
                   "robust_high",
                   "ste_minus_worst_case",
                   "joint_any",
                   "difference",
                   "difference_low",
                   "difference_high",
                   "wins",
                   "losses",
                   "p"});
  for (const auto& row : c.rows) {
    // A row without a run of its own was measured within the first subject's.
    const auto& run = c.runs[row.run.value_or(c.subjects.front())];
    Cells cells{row.title,
                row.role,
                row.run ? run.folder : "",
                row.context,
                row.suspect ? "1" : "0",
                run.dataset,
                run.split,
                std::to_string(run.n),
                run.norm,
                fmt::format("{:.9g}", run.eps),
                run.protocol,
                run.version,
                std::to_string(run.seed),
                row.run ? run.metric : "",
                row.run ? number(run.lambda) : "",
                number(row.clean),
                low(row.clean_interval),
                high(row.clean_interval),
                number(row.robust),
                low(row.interval),
                high(row.interval),
                number(row.gap),
                number(row.joint_any)};
    const auto paired = row.control.value_or(PairedModel{});
    const auto counted = [&](int64_t count) { return row.control ? std::to_string(count) : std::string(); };
    for (const auto& cell :
         Cells{number(paired.difference), low(paired.difference_interval), high(paired.difference_interval),
               counted(paired.wins), counted(paired.losses), number(paired.p)})
      cells.push_back(cell);
    out += line(cells);
  }
  return out;
}

}  // namespace

std::string make_table(const Comparison& comparison, const std::string& extension) {
  if (extension == ".md") return markdown(comparison);
  if (extension == ".tex") return latex(comparison);
  if (extension == ".csv") return csv(comparison);
  fail_usage("make_table: a table's file needs to end in .md, .tex or .csv, but got \"{}\"", extension);
}

}  // namespace hpm
