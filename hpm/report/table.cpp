#include "hpm/report/table_impl.h"

#include "hpm/core/error.h"
#include "hpm/report/report_impl.h"

namespace hpm {
namespace {

using Cells = std::vector<std::string>;

constexpr const char* kMarker = "written by hpm report";  // by which the program knows its own tables again
constexpr const char* kCsvBegin = "model,role,run,context,suspect,";

/// A column of the table. `ours`: the library's own words, in which hyphens are minus signs and dashes.
struct Column {
  std::string title;
  bool numbers = true, ours = true;
  Cells cells = {};
};

std::string accuracy_text(const std::optional<double>& value, const std::optional<Interval>& interval) {
  if (!value) return "";
  return one_decimal(*value) + (interval ? " (" + span_text(*interval) + ")" : "");
}

bool is_detectable(const ModelRow& row) {
  if (!row.control || !row.control->difference) return false;
  const auto difference = difference_of(*row.control);
  return difference == Difference::gain || difference == Difference::loss;
}

std::string difference_text(const ModelRow& row) {
  if (row.role == "control") return "0";
  if (!row.control || !row.control->difference) return "";
  Cells evidence;
  if (row.control->difference_interval) evidence.push_back(range_text(*row.control->difference_interval));
  if (row.control->p) evidence.push_back(p_text(*row.control->p));
  return points(*row.control->difference) + (evidence.empty() ? "" : fmt::format(" ({})", fmt::join(evidence, "; "))) +
         (row.doubtful         ? ", suspect"
          : is_detectable(row) ? ", detectable"
                               : "");
}

/// A row without a run of its own was measured within the first subject's.
const ReportedRun& run_of(const Comparison& c, const ModelRow& row) {
  return c.runs[row.run.value_or(c.subjects.front())];
}

/// The columns that hold anything.
std::vector<Column> columns_of(const Comparison& c) {
  std::vector<Column> all{{"model", false, false},
                          {"context", false},
                          {"n"},
                          {"clean %"},
                          {"robust %, worst case"},
                          {"leading alone minus worst case"},
                          {"against the control"}};
  for (const auto& row : c.rows) {
    auto context = row.context;
    if (row.joint_any) context += fmt::format(" (any attacked batch: {})", one_decimal(*row.joint_any));
    const Cells cells{row.title + (row.suspect ? " (suspect)" : ""),
                      context,
                      count_text(run_of(c, row).n),
                      accuracy_text(row.clean, row.clean_interval),
                      accuracy_text(row.robust, row.interval),
                      row.gap ? one_decimal(*row.gap) : "",
                      difference_text(row)};
    for (size_t i = 0; i < all.size(); ++i) all[i].cells.push_back(cells[i]);
  }
  const auto differences =
      std::count_if(c.rows.begin(), c.rows.end(), [](const ModelRow& row) { return row.control.has_value(); });
  if (differences == 0) all.pop_back();  // the control's 0 alone tells nothing
  std::erase_if(all, [](const Column& column) {
    return std::all_of(column.cells.begin(), column.cells.end(), [](const auto& cell) { return cell.empty(); });
  });
  return all;
}

/// `text` with a minus sign where a hyphen stands before a number, and a dash where it stands between two.
std::string with_signs(const std::string& text, const std::string& minus, const std::string& dash) {
  const auto digit = [&](size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool number = text[i] == '-' && (digit(i + 1) || (i + 1 < text.size() && text[i + 1] == '.'));
    out += !number ? std::string(1, text[i]) : i > 0 && digit(i - 1) ? dash : minus;
  }
  return out;
}

std::string name_of(const std::string& a, const std::string& b) { return b.empty() ? a : a + " " + b; }

/// What was measured, and what must not be compared.
Cells notes(const Comparison& c) {
  const auto& run = c.runs[c.subjects.front()];
  auto measured = fmt::format("{}, {} images", name_of(run.dataset, run.split), count_text(run.n));
  if (run.protocol != "clean")
    measured += fmt::format(", {} {}, {}, seed {}", run.norm, radius_text(run.eps), name_of(run.protocol, run.version),
                            run.seed);
  measured += ". Accuracies in percent with Wilson's 95 % intervals";
  const auto compared = [](const ModelRow& row) { return row.control.has_value(); };
  if (std::any_of(c.rows.begin(), c.rows.end(), compared))
    measured +=
        "; against the control: points on the same images, 95 % interval, McNemar's exact p; detectable: the interval "
        "excludes 0 and p < .05";
  Cells out{measured + "."};
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

std::string markdown(const Comparison& c, const std::string& caption) {
  const auto plain = [](const std::string& text) { return replaced(text, {{'<', "&lt;"}}); };  // names may hold HTML
  const auto line = [](const Cells& cells) {
    std::string out = "|";
    for (const auto& cell : cells)
      out += " " + replaced(cell, {{'|', "\\|"}, {'\n', " "}}) + (cell.empty() ? "|" : " |");
    return out + "\n";
  };
  const auto columns = columns_of(c);
  Cells titles;
  std::string rule = "|";
  for (const auto& column : columns) titles.push_back(column.title), rule += column.numbers ? "---:|" : "---|";
  auto out = fmt::format("<!-- {} -->\n{}{}\n", kMarker, line(titles), rule);
  for (size_t row = 0; row < c.rows.size(); ++row) {
    Cells cells;
    for (const auto& column : columns) {
      const auto text = column.numbers ? column.cells[row] : plain(column.cells[row]);
      cells.push_back(column.ours ? with_signs(text, "\u2212", "\u2013") : text);
    }
    out += line(cells);
  }
  if (!caption.empty()) out += "\nTable: " + plain(replaced(caption, {{'\n', " "}})) + "\n";
  for (const auto& note : notes(c)) out += "\n" + plain(note) + "\n";
  return out;
}

std::string latex_text(const std::string& text) {
  return replaced(text, {{'&', "\\&"},
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
                         {'>', "$>$"},
                         {'\n', " "}});
}

/// "Clean and robust accuracy (%) on cifar10 test under ell_infinity perturbations, epsilon = 8/255 (msa quick)."
std::string latex_caption(const Comparison& c) {
  const auto& run = c.runs[c.subjects.front()];
  const auto data = latex_text(name_of(run.dataset, run.split));
  if (run.protocol == "clean") return fmt::format("Clean accuracy (\\%) on {}.", data);
  const auto norm = run.norm == "Linf" ? "$\\ell_\\infty$" : run.norm == "L2" ? "$\\ell_2$" : "$\\ell_1$";
  return fmt::format("Clean and robust accuracy (\\%) on {}, {} perturbations, $\\epsilon = {}$ ({}).", data, norm,
                     radius_text(run.eps), latex_text(name_of(run.protocol, run.version)));
}

/// "tab:cifar10-linf-8-255"
std::string latex_label(const Comparison& c) {
  const auto& run = c.runs[c.subjects.front()];
  std::string out = "tab:";
  for (const char ch : fmt::format("{}-{}-{}", run.dataset, run.norm, radius_text(run.eps)))
    if (std::isalnum(static_cast<unsigned char>(ch))) out += static_cast<char>(std::tolower(ch));
    else if (!out.ends_with('-')) out += '-';
  return out;
}

std::string latex(const Comparison& c, const std::string& caption) {
  const auto columns = columns_of(c);
  const auto line = [](const Cells& cells) { return fmt::format("{} \\\\\n", fmt::join(cells, " & ")); };
  Cells titles;
  std::string places;
  for (const auto& column : columns) titles.push_back(latex_text(column.title)), places += column.numbers ? 'r' : 'l';
  auto out = fmt::format("% {}\n", kMarker);
  for (const auto& note : notes(c)) out += "% " + replaced(note, {{'\n', " "}}) + "\n";
  out += fmt::format("\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\label{{{}}}\n",
                     caption.empty() ? latex_caption(c) : latex_text(caption), latex_label(c));
  out += "\\begin{tabular}{" + places + "}\n\\toprule\n" + line(titles) + "\\midrule\n";
  for (size_t row = 0; row < c.rows.size(); ++row) {
    Cells cells;
    for (const auto& column : columns) {
      const auto text = latex_text(column.cells[row]);
      cells.push_back(column.ours ? with_signs(text, "$-$", "--") : text);
    }
    out += line(cells);
  }
  return out + "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
}

std::string csv_number(const std::optional<double>& value) {
  return value ? fmt::format("{:.6g}", *value) : std::string();
}
std::string csv_low(const std::optional<ConfidenceInterval>& interval) {
  return interval ? csv_number(interval->low) : std::string();
}
std::string csv_high(const std::optional<ConfidenceInterval>& interval) {
  return interval ? csv_number(interval->high) : std::string();
}

std::string csv_line(const Cells& cells) {
  Cells quoted;
  for (const auto& cell : cells)
    quoted.push_back(cell.find_first_of(",\"\n\r") == std::string::npos ? cell
                                                                        : '"' + replaced(cell, {{'"', "\"\""}}) + '"');
  return fmt::format("{}\n", fmt::join(quoted, ","));
}

/// Columns of the run that a row is of.
Cells csv_run(const ReportedRun& run, const ModelRow& row) {
  return {row.title,
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
          row.run ? run.model_info.metric : "",
          row.run ? csv_number(run.model_info.lambda) : ""};
}

/// Columns of the row's own figures.
Cells csv_figures(const ModelRow& row) {
  const auto paired = row.control.value_or(PairedModel{});
  const auto counted = [&](int64_t count) { return row.control ? std::to_string(count) : std::string(); };
  return {csv_number(row.clean),
          csv_low(row.clean_interval),
          csv_high(row.clean_interval),
          csv_number(row.robust),
          csv_low(row.interval),
          csv_high(row.interval),
          csv_number(row.gap),
          csv_number(row.joint_any),
          csv_number(paired.difference),
          csv_low(paired.difference_interval),
          csv_high(paired.difference_interval),
          counted(paired.wins),
          counted(paired.losses),
          csv_number(paired.p)};
}

std::string csv(const Comparison& c) {
  auto out = csv_line({"model",
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
    auto cells = csv_run(run_of(c, row), row);
    const auto figures = csv_figures(row);
    cells.insert(cells.end(), figures.begin(), figures.end());
    out += csv_line(cells);
  }
  return out;
}

}  // namespace

std::string make_table(const Comparison& comparison, const std::string& extension, const std::string& caption) {
  if (extension == ".md" || extension.empty()) return markdown(comparison, caption);  // a device or FIFO has no ending
  if (extension == ".tex") return latex(comparison, caption);
  if (extension == ".csv") return csv(comparison);
  fail_usage("make_table: a table's file needs to end in .md, .tex or .csv, but got \"{}\"", extension);
}

bool is_table(std::string_view beginning) {
  return beginning.starts_with(fmt::format("<!-- {}", kMarker)) ||
         beginning.starts_with(fmt::format("% {}", kMarker)) || beginning.starts_with(kCsvBegin);
}

}  // namespace hpm
