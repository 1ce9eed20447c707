#include "hpm/gauntlet/gauntlet.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/gauntlet/mutations.h"
#include "hpm/gauntlet/results.h"
#include "hpm/io/file.h"
#include "options.h"

namespace hpm::app {
namespace {

constexpr const char* kNoGuard = "nothing";

struct GauntletFlags {
  ModelOptions model;
  DataOptions data;
  std::string eps = "0.1";
  GauntletOptions options;
  int64_t training_images = 2000, jobs = 1;
  bool mutations = false;
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
  f.add("jobs", o.jobs, "defences at a time, each in a process of its own", {.min = 1, .max = 256});
  f.add("mutations", o.mutations, "also turn off each surrogate, check and alarm: its row must fail");
  std::vector<std::string> guards{kNoGuard};
  for (const auto& mutation : mutation_table()) guards.push_back(mutation.guard);
  f.add("guards", o.guards, "surrogates, checks and alarms that are left (none given: all; nothing: none of them)",
        {.suggestions = guards});
  f.add("from", o.from, "rows that earlier runs gave (--json), shown in place of a run", {.place = Place::file});
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

GauntletSetting setting_of(const GauntletFlags& flags, CommandLine& line) {
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
  return setting;
}

std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// The arguments of a process for one defence: those given, without what each process gets of its own.
Arguments inherited(const Arguments& arguments) {
  Arguments kept;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& argument = arguments[i];
    const auto is = [&](const char* name) { return argument == name || argument.starts_with(std::string(name) + "="); };
    if (is("--json") || is("--quiet") || is("--mutations")) continue;
    if (is("--only") || is("--jobs") || is("--html")) {
      i += argument.find('=') == std::string::npos ? 1 : 0;
      continue;
    }
    kept.push_back(argument);
  }
  return kept;
}

/// Those that are to run.
std::vector<std::string> defences(const GauntletFlags& flags) {
  auto names = flags.options.only;
  if (names.empty())
    for (const auto& entry : gauntlet_table()) names.push_back(entry.name);
  return names;
}

/// The rows that another process of this program gives for one defence.
std::vector<GauntletResult> in_a_process(const std::string& program, const std::vector<std::string>& arguments,
                                         const std::string& name) {
  auto command = quoted(program) + " gauntlet";
  for (const auto& argument : arguments) command += " " + quoted(argument);
  command += " --only " + quoted(name) + " --jobs 1 --json --quiet";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) fail("gauntlet: cannot start {}", program);
  std::string text;
  std::array<char, 4096> part{};
  for (size_t n; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;) text.append(part.data(), n);
  const int status = ::pclose(pipe);
  if (text.empty())
    fail("gauntlet: the process for {} ended {}", name,
         WIFEXITED(status) ? fmt::format("with status {}; it says why above", WEXITSTATUS(status))
                           : fmt::format("by signal {}", WTERMSIG(status)));
  return read_gauntlet(text, "the process for " + name);
}

/// Every defence in a process of its own, `jobs` at a time, in the order of the table. A defence whose process failed
/// has no row; `failures` says why.
std::vector<GauntletResult> in_processes(const GauntletFlags& flags, const Arguments& arguments, Monitor& monitor,
                                         std::vector<std::string>& failures) {
  const auto names = defences(flags);
  auto inherit = inherited(arguments);
  if (flags.compute.threads == 0) {  // processes with all cores each would wait for one another
    const int64_t cores = std::max(1U, std::thread::hardware_concurrency());
    inherit.push_back(fmt::format("--threads={}", std::max<int64_t>(1, cores / flags.jobs)));
  }
  const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::vector<GauntletResult>> found(names.size());
  std::mutex mutex;
  size_t next = 0;
  const auto work = [&] {
    for (;;) {
      size_t mine = 0;
      {
        const std::lock_guard lock(mutex);
        if (next == names.size()) return;
        mine = next++;
        monitor.say("gauntlet: " + names[mine]);
      }
      try {
        found[mine] = in_a_process(program, inherit, names[mine]);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        failures.emplace_back(error.what());
      }
    }
  };
  std::vector<std::future<void>> workers;
  for (int64_t j = 0; j < flags.jobs; ++j) workers.push_back(std::async(std::launch::async, work));
  for (auto& worker : workers) worker.get();
  std::vector<GauntletResult> all;
  for (auto& rows : found) all.insert(all.end(), rows.begin(), rows.end());
  return all;
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

}  // namespace

int gauntlet(const Arguments& arguments) {
  CommandLine line("gauntlet", "Puts the evaluation through defences that are known to be broken, and honest ones.",
                   "hpm gauntlet --model checkpoints/fashion-mnist-linf-0.1.safetensors --data fashion-mnist --eps 0.1 "
                   "--count 200");
  GauntletFlags flags;
  declare(line.fields, flags);
  std::string html;
  line.fields.section("output").add("html", html, "a page with the table and a picture", {.place = Place::file});
  if (!line.parse(arguments)) return 0;
  configure_threads(flags.compute.threads);
  for (const char* unused : {"device", "precision"})
    line.warn_unused(unused, "the gauntlet runs on the CPU, in float32");
  flags.options.batch_size = flags.compute.batch_size;
  if (!flags.guards.empty()) {
    std::erase(flags.guards, kNoGuard);
    flags.options.guards = flags.guards;
  }
  std::vector<GauntletResult> rows;
  std::vector<std::string> failures;
  if (!flags.from.empty()) {
    for (const auto& file : flags.from)
      for (auto& row : read_gauntlet(read_file(file).text(), file)) rows.push_back(std::move(row));
  } else if (defences(flags).size() > 1) {
    rows = in_processes(flags, arguments, line.monitor(), failures);
  } else {
    for (const auto& row : run_gauntlet(setting_of(flags, line), flags.options, line.monitor()))
      rows.push_back(summary_of(row));
  }
  if (line.json) fmt::print("{}", gauntlet_json(rows));
  else print(rows);
  const auto missed = flags.mutations && !line.json ? print_mutations(rows) : 0;
  if (!html.empty())
    write_file_atomically(
        html,
        gauntlet_page(rows, fmt::format("{} on {}, {} images, Linf eps {}, seed {}", flags.model.model, flags.data.data,
                                        rows.empty() ? 0 : rows.front().n, flags.eps, flags.seed)));
  if (!failures.empty()) fail("{}", fmt::join(failures, "; "));
  return missed == 0 && std::all_of(rows.begin(), rows.end(), [](const auto& row) { return row.passed; }) ? 0 : 3;
}

}  // namespace hpm::app
