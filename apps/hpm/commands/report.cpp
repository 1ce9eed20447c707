#include "hpm/report/report.h"

#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "options.h"

namespace hpm::app {

int report(const Arguments& arguments) {
  CommandLine line("report", "One self-contained HTML file for a run, or comparing several.",
                   "hpm report runs/base runs/control runs/hpm --html compare.html");
  std::vector<std::string> runs;
  std::string html = "report.html", table, title;
  line.positional("RUN...", runs);
  line.fields.section("output").add("html", html, "file to write");
  line.fields.add("table", table, "the side-by-side table too: a file ending in .md, .tex or .csv (none: none)");
  line.fields.add("title", title, "headline (none: made from the runs)");
  if (!line.parse(arguments)) return 0;
  require(!runs.empty(), "report: needs at least one run directory");
  write_report(runs, html, title);
  if (!table.empty()) write_table(runs, table);
  nlohmann::ordered_json files{{"file", html}};
  if (!table.empty()) files["table"] = table;
  if (line.json) fmt::print("{}\n", files.dump());
  else
    for (const auto& file : files) fmt::print("{}\n", file.get<std::string>());
  return 0;
}

}  // namespace hpm::app
