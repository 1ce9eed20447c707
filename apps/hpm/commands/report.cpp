#include <cstdio>
#include <filesystem>

#include "hpm/report/report.h"

#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "options.h"
#include "outputs.h"
#include "run_folder.h"
#include "serve.h"
#include "standard_streams.h"

namespace hpm::app {
namespace {

/// A device or a FIFO that is there already.
bool is_stream(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  return std::filesystem::is_character_file(status) || std::filesystem::is_fifo(status);
}

struct ReportFlags {
  std::vector<std::string> runs, labels;
  std::string html = "report.html", table, title, reference, caption, serve;
  int64_t port = 8000;
  bool force = false;
};

void declare(CommandLine& line, ReportFlags& o) {
  line.positional("RUN...", o.runs, {.place = Place::folder});
  line.fields.section("output").add("html", o.html, "file to write", {.place = Place::file});
  line.fields.add("table", o.table, "the side-by-side table too: a file ending in .md, .tex or .csv (none: none)",
                  {.place = Place::file});
  line.fields.add("title", o.title, "headline (none: made from the runs)");
  line.fields.add("label", o.labels, "what a run is called, once for each run, in their order (none: its role or file)",
                  {.repeatable = true});
  line.fields.add(
      "reference", o.reference,
      "the run that the page compares the others with: its folder, label or title (none: from eight runs on "
      "the first that was attacked)");
  line.fields.add("caption", o.caption, "of --table, in .tex and .md (none: made from data, norm, eps and protocol)");
  line.fields.add("force", o.force, "replace files that hpm report did not write");
  line.fields.section("serve").add(
      "serve", o.serve, "show all runs of a folder in the browser, live, on this machine alone; Ctrl-C ends it",
      {.place = Place::folder});
  line.fields.add("port", o.port, "of --serve, on 127.0.0.1 (0: a free one, as where 8000 is in use)",
                  {.min = 0, .max = 65535});
}

/// The port asked for; without one 8000, or a free one where that is in use.
std::unique_ptr<LoopbackServer> listening(const CommandLine& line, int64_t port) {
  try {
    return std::make_unique<LoopbackServer>(port);
  } catch (const Error&) {
    if (line.fields.given("port")) throw;
    return std::make_unique<LoopbackServer>(0);
  }
}

int serve(CommandLine& line, const ReportFlags& o) {
  if (!o.runs.empty())
    fail_usage("--serve: shows every run of its folder and takes no other ones, but got {}", o.runs.front());
  for (const char* name : {"html", "table", "title", "label", "reference", "caption", "force"})
    line.warn_unused(name, "--serve writes no file");
  RunFolder folder(o.serve);
  const auto server = listening(line, o.port);
  if (line.json) fmt::print("{}\n", json_text(nlohmann::ordered_json{{"url", server->url()}}));
  else fmt::print("{}\n", server->url());
  std::fflush(stdout);
  line.monitor().say("Ctrl-C ends it");
  server->serve([&](const HttpRequest& request) { return folder.answer(request); });
  return 0;
}

}  // namespace

int report(const Arguments& arguments) {
  CommandLine line("report", "One self-contained HTML file for a run, or comparing several.",
                   "hpm report runs/base runs/control runs/hpm --html compare.html");
  ReportFlags o;
  declare(line, o);
  if (!line.parse(arguments)) return 0;
  if (!o.serve.empty()) return serve(line, o);
  line.warn_unused("port", "there is no --serve");
  require(!o.runs.empty(), "report: needs at least one run directory");
  require(o.labels.empty() || o.labels.size() == o.runs.size(),
          "--label: needs one for each of the {} runs, but got {}", o.runs.size(), o.labels.size());
  if (o.runs.size() == 1) line.warn_unused("reference", "there is one run");
  if (o.table.empty()) line.warn_unused("caption", "no --table is written");
  if (o.table.ends_with(".csv")) line.warn_unused("caption", "a CSV file has none");
  // A device or a FIFO has no ending: it gets Markdown.
  require(o.table.empty() || is_stream(o.table) || o.table.ends_with(".md") || o.table.ends_with(".tex") ||
              o.table.ends_with(".csv"),
          "--table: needs a name that ends in .md, .tex or .csv, but got \"{}\"", o.table);
  require_free("--html", o.html, o.force, is_report_file);
  if (!o.table.empty()) require_free("--table", o.table, o.force, is_report_file);
  write_report(o.runs, o.html, {.title = o.title, .labels = o.labels, .reference = o.reference});
  if (!o.table.empty()) write_table(o.runs, o.table, {.caption = o.caption, .labels = o.labels});
  nlohmann::ordered_json files{{"file", o.html}};
  if (!o.table.empty()) files["table"] = o.table;
  if (line.json) fmt::print("{}\n", json_text(files));
  else
    for (const auto& file : {o.html, o.table})
      if (!file.empty() && !is_standard_output(file)) fmt::print("{}\n", file);
  return 0;
}

}  // namespace hpm::app
