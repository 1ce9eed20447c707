#include "hpm/gauntlet/gauntlet.h"

#include <algorithm>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/shared_run.h"
#include "hpm/gauntlet/mutations.h"
#include "hpm/gauntlet/results.h"
#include "hpm/io/file.h"
#include "options.h"
#include "workers.h"

namespace hpm::app {
namespace {

constexpr const char* kNoGuard = "nothing";

struct GauntletFlags {
  ModelOptions model;
  DataOptions data;
  std::string eps = "0.1";
  GauntletOptions options;
  int64_t training_images = 2000, workers = 1;
  std::vector<std::string> guards = {}, from = {};
  uint64_t seed = 0;
  ComputeOptions compute;
};

void declare(Fields& f, GauntletFlags& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  f.section("gauntlet");
  std::vector<std::string> names;
  for (const auto& entry : gauntlet_table()) names.push_back(entry.name);
  f.add("eps", o.eps, "radius, Linf", {.unit = "input range [0,1]", .radius = true});
  f.add("only", o.options.only, "these defences alone", {.suggestions = names});
  f.add("steps", o.options.steps, "steps of every gradient attack but the careless one", {.min = 1, .max = 100000});
  f.add("queries", o.options.queries, "queries of Square", {.min = 1, .max = 1000000});
  f.add("training-images", o.training_images, "training images that the defences learn from", {.min = 100});
  f.add("mutations", o.options.mutations, "also turn off each surrogate, check and alarm: its row must fail");
  std::vector<std::string> guards{kNoGuard};
  for (const auto& mutation : mutation_table()) guards.push_back(mutation.guard);
  f.add("guards", o.guards, "surrogates, checks and alarms that are left (none given: all; nothing: none of them)",
        {.suggestions = guards});
  f.add("from", o.from, "rows that earlier runs gave (--json), shown in place of a run", {.place = Place::file});
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
  declare_workers(f, o.workers);
}

GauntletSetting setting_of(const GauntletFlags& flags, CommandLine& line, Fingerprint& contents) {
  GauntletSetting setting{.threat = {Norm::linf, parse_radius(flags.eps, "--eps")}, .seed = flags.seed};
  const auto data = load(flags.data, line);
  auto training_options = flags.data;
  training_options.split = "train", training_options.count = flags.training_images, training_options.first = 0;
  training_options.indices.clear();
  const auto training = load(training_options, line);
  const auto model = load(flags.model, flags.model.model, data.image_shape(), line.monitor(), "");
  require_classes(model, data);
  setting.base = model.classifier;
  const auto index = image_numbers(flags.data, data);
  setting.images = image_set(data, index, at::kCPU);
  const auto numbers = image_numbers(training_options, training);
  setting.training = {training.images(numbers), training.labels.index_select(0, numbers), numbers};

  // What a run that goes on must have in common with the one that was begun.
  contents.add_options(line.fields, {"model", "data", "compute", "images", "eps", "workers"});
  contents.set("--eps", fmt::format("{}", setting.threat.eps));
  contents.set("--batch-size", std::to_string(flags.compute.batch_size));  // random defences draw for a batch
  contents.set("SHA-256 of the images and labels", sha256_of_images(data, index));
  contents.set("SHA-256 of the training images", sha256_of_images(training, numbers));
  contents.add_model("the base", setting.base);
  return setting;
}

void print(const std::vector<GauntletResult>& rows) {
  std::vector<std::vector<std::string>> lines{
      {"defence", "clean %", "careless", "AutoAttack", "MSA", "truth", "self-test", "s", "", "flagged as"}};
  for (const auto& r : rows) {
    std::string causes;
    for (const auto& flag : r.flagged)
      if (causes.find(flag.cause) == std::string::npos) causes += (causes.empty() ? "" : ", ") + flag.cause;
    const auto number = [](double value) { return fmt::format("{:.1f}", value); };
    lines.push_back({r.name, number(r.clean), number(r.careless), number(r.autoattack), number(r.msa), number(r.truth),
                     r.planted == 0 ? "-" : fmt::format("{}/{}", r.found, r.planted), fmt::format("{:.0f}", r.seconds),
                     r.passed ? "passed" : "FAILED", causes});
  }
  fmt::print("{}", table(lines));
}

/// Every mutation whose row ran. Returns how many of them no row noticed.
int64_t print_mutations(const std::vector<GauntletResult>& rows) {
  std::vector<std::vector<std::string>> lines{{"turned off", "", "row", "truth", "with it", "without it", ""}};
  int64_t missed = 0;
  for (const auto& m : mutation_outcomes(rows)) {
    const auto number = [](double value) { return fmt::format("{:.1f}", value); };
    missed += !m.caught();
    lines.push_back({m.mutation.guard, to_string(m.mutation.kind), m.mutation.defence, number(m.truth), number(m.with),
                     number(m.without),
                     m.caught()      ? "the row fails"
                     : m.passes_with ? "NOT NOTICED"
                                     : "DOES NOTHING"});
  }
  fmt::print("{}", table(lines));
  for (const auto& m : mutation_table())
    if (m.defence.empty()) fmt::print("no row for the {} {}: {}\n", to_string(m.kind), m.guard, m.why_none);
  return missed;
}

/// Writes gauntlet.json and report.html, and prints; the exit status. Throws Error where a defence has no row.
int show(const GauntletResults& results, const GauntletFlags& flags, const RunDirectory& run, const CommandLine& line) {
  const auto& rows = results.rows;
  const auto json = gauntlet_json(rows);
  run.write("gauntlet.json", json);
  const auto what = flags.from.empty()
                        ? fmt::format("{} on {}, {} images, Linf eps {}, seed {}", flags.model.model, flags.data.data,
                                      rows.empty() ? 0 : rows.front().n, flags.eps, flags.seed)
                        : fmt::format("Rows of {}", fmt::join(flags.from, ", "));
  run.write("report.html", gauntlet_page(rows, what));
  if (line.json) fmt::print("{}", json);
  else print(rows);
  const auto missed = flags.options.mutations && !line.json ? print_mutations(rows) : 0;
  if (!line.json) fmt::print("report: {}\n", run.file("report.html"));
  if (!results.failures.empty())
    fail("gauntlet: no row of {} (the others stand; --resume tries again)", fmt::join(results.failures, "; "));
  return missed == 0 && std::all_of(rows.begin(), rows.end(), [](const auto& row) { return row.passed; }) ? 0 : 3;
}

}  // namespace

int gauntlet(const Arguments& arguments) {
  CommandLine line("gauntlet", "Puts the evaluation through defences that are known to be broken, and honest ones.",
                   "hpm gauntlet --model checkpoints/fashion-mnist-linf-0.1.safetensors --data fashion-mnist --eps 0.1 "
                   "--count 200");
  GauntletFlags flags;
  declare(line.fields, flags);
  line.with_run_directory(true);
  if (!line.parse(arguments)) return 0;
  flags.options.batch_size = flags.compute.batch_size;
  if (!flags.guards.empty()) {
    std::erase(flags.guards, kNoGuard);
    flags.options.guards = flags.guards;
  }
  if (!flags.from.empty()) {
    if (line.resume) fail_usage("--from shows the rows of finished runs; there is nothing to --resume");
    GauntletResults results;
    for (const auto& file : flags.from)
      for (auto& row : read_gauntlet(read_file(file).text(), file)) {
        if (flags.options.mutations && row.parts.empty())
          fail_usage("{}: --mutations needs a run that was made with --mutations, where every surrogate attacked every "
                     "image; make the row {} again with it",
                     file, row.name);
        results.rows.push_back(std::move(row));
      }
    return show(results, flags, open_run(line, "gauntlet", flags.compute, flags.seed), line);
  }
  Workers workers(flags.workers, line);
  workers.share_machine(flags.compute, line.monitor());
  configure_threads(flags.compute.threads);
  for (const char* unused : {"device", "precision"})
    line.warn_unused(unused, "the gauntlet runs on the CPU, in float32");
  Fingerprint contents;
  const auto setting = setting_of(flags, line, contents);
  require_possible(setting, flags.options);
  const auto all_rows = [&](const RunPlace& place) {
    SharedRun shared(contents, place, line.monitor());
    auto results = gauntlet_results(setting, flags.options, {line.monitor(), shared.log()});
    shared.end();
    return results;
  };
  const auto first = [&](Crew* crew) {
    const auto run = open_run(line, "gauntlet", flags.compute, flags.seed);
    workers.opened(run);
    return show(all_rows({run, line.resume, crew, flags.compute.batch_size}), flags, run, line);
  };
  return workers.share(arguments, first, [&](const RunDirectory& run, Crew& crew) {
    all_rows({run, line.resume, &crew, flags.compute.batch_size});
  });
}

}  // namespace hpm::app
