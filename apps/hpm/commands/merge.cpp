#include "hpm/evaluation/run/merge.h"

#include <filesystem>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "options.h"
#include "outputs.h"

namespace hpm::app {
namespace {

/// --overwrite would take away the shard before it is read.
void require_other_folder(const std::string& out, const std::vector<std::string>& shards) {
  std::error_code none;
  for (const auto& shard : shards)
    require(out.empty() || !std::filesystem::equivalent(out, shard, none),
            "--out: {} is one of the shards; the merged run needs a folder of its own", out);
}

}  // namespace

int merge(const Arguments& arguments) {
  CommandLine line("merge",
                   "One run of shards: evaluations of the same model with the same options on other images (--first, "
                   "--count), with statistics over all of them.",
                   "hpm merge runs/shard-* --out runs/all");
  std::vector<std::string> runs;
  line.positional("RUN...", runs, {.place = Place::folder});
  line.with_run_directory(false);
  if (!line.parse(arguments)) return 0;
  require_other_folder(line.out, runs);
  std::vector<Shard> shards;
  for (const auto& folder : runs) shards.push_back(read_shard(folder));
  const auto merged = merge_shards(shards);
  for (const auto& warning : merged.warnings) line.monitor().warn(warning);
  const auto run = open_run(line, "merge", {}, merged.results.seed);
  const auto results = write_merged(shards, merged, run);
  const bool reported = write_run_report(run, RunKind::evaluation);
  const auto& r = merged.results;
  if (line.json) {
    fmt::print("{}", results);
    return !reported ? 1 : r.suspect ? 3 : 0;
  }
  std::vector<std::vector<std::string>> rows{{"", "images", "clean %", "robust %", "95 %"}};
  const auto add = [&](const std::string& name, const ContextResult& c) {
    const auto percent = [](const auto& value) { return value ? fmt::format("{:.2f}", *value) : std::string("-"); };
    rows.push_back({name, std::to_string(r.n), percent(c.clean_accuracy), percent(c.robust_accuracy),
                    c.interval ? fmt::format("{:.2f} to {:.2f}", c.interval->low, c.interval->high) : "-"});
  };
  if (r.contexts.empty()) add(r.role.empty() ? "model" : r.role, r.first);
  for (const auto& context : r.contexts) add(context.context, context);
  fmt::print("{} shards, {} {}\n{}", shards.size(), r.dataset, r.split, table(rows));
  for (const auto& reason : r.reasons) fmt::print("suspect: {}\n", reason);
  fmt::print("report: {}\n", run.file("report.html"));
  return !reported ? 1 : r.suspect ? 3 : 0;
}

}  // namespace hpm::app
