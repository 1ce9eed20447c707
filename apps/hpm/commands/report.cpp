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
  std::string html = "report.html", title;
  line.positional("RUN...", runs);
  line.fields.section("output").add("html", html, "file to write");
  line.fields.add("title", title, "headline (none: made from the runs)");
  if (!line.parse(arguments)) return 0;
  require(!runs.empty(), "report: needs at least one run directory");
  write_report(runs, html, title);
  if (line.json) fmt::print("{}\n", nlohmann::ordered_json{{"file", html}}.dump());
  else fmt::print("{}\n", html);
  return 0;
}

}  // namespace hpm::app
