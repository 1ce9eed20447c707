#include <filesystem>

#include "hpm/report/report.h"

#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "options.h"
#include "outputs.h"
#include "standard_streams.h"

namespace hpm::app {
namespace {

/// A device or a FIFO that is there already.
bool is_stream(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  return std::filesystem::is_character_file(status) || std::filesystem::is_fifo(status);
}

}  // namespace

int report(const Arguments& arguments) {
  CommandLine line("report", "One self-contained HTML file for a run, or comparing several.",
                   "hpm report runs/base runs/control runs/hpm --html compare.html");
  std::vector<std::string> runs, labels;
  std::string html = "report.html", table, title, caption;
  bool force = false;
  line.positional("RUN...", runs, {.place = Place::folder});
  line.fields.section("output").add("html", html, "file to write", {.place = Place::file});
  line.fields.add("table", table, "the side-by-side table too: a file ending in .md, .tex or .csv (none: none)",
                  {.place = Place::file});
  line.fields.add("title", title, "headline (none: made from the runs)");
  line.fields.add("label", labels, "what a run is called, once for each run, in their order (none: its role or file)",
                  {.repeatable = true});
  line.fields.add("caption", caption, "of --table, in .tex and .md (none: made from data, norm, eps and protocol)");
  line.fields.add("force", force, "replace files that hpm report did not write");
  if (!line.parse(arguments)) return 0;
  require(!runs.empty(), "report: needs at least one run directory");
  require(labels.empty() || labels.size() == runs.size(), "--label: needs one for each of the {} runs, but got {}",
          runs.size(), labels.size());
  if (table.empty()) line.warn_unused("caption", "no --table is written");
  if (table.ends_with(".csv")) line.warn_unused("caption", "a CSV file has none");
  // A device or a FIFO has no ending: it gets Markdown.
  require(
      table.empty() || is_stream(table) || table.ends_with(".md") || table.ends_with(".tex") || table.ends_with(".csv"),
      "--table: needs a name that ends in .md, .tex or .csv, but got \"{}\"", table);
  require_free("--html", html, force, is_report_file);
  if (!table.empty()) require_free("--table", table, force, is_report_file);
  write_report(runs, html, {.title = title, .labels = labels});
  if (!table.empty()) write_table(runs, table, {.caption = caption, .labels = labels});
  nlohmann::ordered_json files{{"file", html}};
  if (!table.empty()) files["table"] = table;
  if (line.json) fmt::print("{}\n", json_text(files));
  else
    for (const auto& file : {html, table})
      if (!file.empty() && !is_standard_output(file)) fmt::print("{}\n", file);
  return 0;
}

}  // namespace hpm::app
