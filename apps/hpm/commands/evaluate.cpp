#include "hpm/evaluation/run/evaluate.h"

#include "commands/commands.h"
#include "cost.h"
#include "evaluation_table.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/peers.h"
#include "hpm/models/normalisation.h"
#include "hpm/surrogates/bpda.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "options.h"
#include "outputs.h"
#include "workers.h"

namespace hpm::app {
namespace {

struct EvaluateFlags {
  ModelOptions model;
  DataOptions data;
  EvaluationOptions options;
  int64_t workers = 1;
};

Classifier load_peer(const std::string& name, const std::string& path, const EvaluateFlags& flags, CommandLine& line,
                     EvaluationInput& input) {
  if (path.empty()) return {};
  auto peer = hpm::load_peer({name, path, flags.model.card, flags.model.allow_torchscript}, input.model.classifier);
  for (const auto& text : peer.notes) line.monitor().say(path + ": " + text);
  for (const auto& text : peer.warnings) line.monitor().warn(text);
  for (const auto& text : peer.findings) line.monitor().warn(text), input.notes.push_back(text);
  return peer.classifier;
}

EvaluationInput load(EvaluateFlags& flags, CommandLine& line) {
  const auto& options = flags.options;
  const bool compared = !options.is("clean") && options.names_peers();
  EvaluationInput input{.data = app::load(flags.data, line)};
  input.index = image_numbers(flags.data, input.data);
  input.model = app::load(flags.model, flags.model.model, input.data.image_shape(), line.monitor(),
                          compared ? "--base and --control are compared with it" : "");
  const auto& classifier = input.model.classifier;
  if (!normalisation_known(classifier))
    input.notes.emplace_back("no input normalisation is known: none is applied (--mean, --std or a card)");
  for (const auto& text : unlikely_values(classifier.info().normalisation)) input.notes.push_back(text);
  require_classes(input.model, input.data);
  if (compared)
    input.peers = {load_peer("base", options.base, flags, line, input),
                   load_peer("control", options.control, flags, line, input)};
  if (input.model.head && options.lambda) input.model.head->lambda = *options.lambda;
  return input;
}

void to_device(EvaluationInput& input, const EvaluationOptions& options, Monitor& monitor) {
  const auto device = parse_device(options.compute.device);
  const auto precision = parse_precision(options.compute.precision, device);
  require((precision.type == at::kFloat && !precision.tf32) || !options.autoattack.conformance,
          "evaluate: --conformance needs --precision float32, as the official code has");
  if (options.compute.precision == "tf32" && device.is_cpu())
    monitor.warn("--precision tf32 has no effect on the CPU: the search computes in float32");
  input.model.to(device);
  for (auto* classifier : {&input.model.classifier, &input.peers.base, &input.peers.control}) {
    if (!*classifier) continue;
    classifier->to(device);
    classifier->set_search_precision(precision.type);
    classifier->set_search_tf32(precision.tf32);
  }
}

/// Says what the attacks will take; false for --dry-run, which goes no further.
bool say_cost(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan,
              int64_t workers, CommandLine& line) {
  if (!line.dry_run && (line.quiet || options.is("clean") || options.is("pgd"))) return true;
  const auto images = image_set(input.data, input.index, input.model.classifier.device());
  auto cost = cost_of(input.model.classifier, images.slice(0, std::min<int64_t>(images.size(), 64)), plan.passes,
                      images.size(), plan.radii, plan.usual);
  cost.workers = workers;
  if (line.dry_run) cost.print(line);
  else line.monitor().say(cost.text());
  return !line.dry_run;
}

/// The evaluation, by this process alone or with others: the first of them writes and prints.
int share(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan, Workers& workers,
          const Arguments& arguments, CommandLine& line) {
  const auto first = [&](Crew* crew) {
    const auto run = open_run(line, "evaluate", options.compute, options.seed);
    workers.opened(run);
    const auto outcome = hpm::evaluate(input, options, plan, {run, line.resume, crew}, line.monitor());
    const auto results = write_results(input, options, outcome, run, line.fields.json());
    const bool reported = write_run_report(run, RunKind::evaluation);
    if (line.json) fmt::print("{}", results);
    else print_outcome(outcome, options, run.file("report.html"));
    return !reported ? 1 : outcome.evaluation.suspect() ? 3 : 0;
  };
  return workers.share(arguments, first, [&](const RunDirectory& run, Crew& crew) {
    hpm::evaluate(input, options, plan, {run, line.resume, &crew}, line.monitor());
  });
}

}  // namespace

int evaluate(const Arguments& arguments) {
  CommandLine line("evaluate",
                   "Evaluates a model: clean, PGD, AutoAttack, fast or the Mixed Surrogate Attack, with checks.",
                   "hpm evaluate --model FILE --data cifar10 --norm Linf --eps 8/255 --count 1000");
  EvaluateFlags flags;
  fields(line.fields, flags.model);
  fields(line.fields, flags.data, "test");
  hpm::fields(line.fields, flags.options);
  declare_workers(line.fields, flags.workers);
  line.with_run_directory(true);
  line.with_dry_run();
  if (!line.parse(arguments)) return 0;
  auto& options = flags.options;
  use_official_computing(line.fields, options);
  Workers workers(flags.workers, line);
  workers.share_machine(options.compute, line.monitor());
  configure_threads(options.compute.threads);
  auto input = load(flags, line);
  if (workers.size() > 1) require_shareable(options);
  check_options(options, {input.model.head.has_value()});  // before stand-ins are loaded that nothing uses
  for (const auto& file : options.surrogate_files)
    input.surrogates.push_back(torchscript_surrogate(file, flags.model.allow_torchscript));
  to_device(input, options, line.monitor());
  if (!options.bpda.empty()) {
    std::vector<BpdaLayer> layers;
    for (const auto& text : options.bpda) layers.push_back(parse_bpda(text));
    input.surrogates.push_back(bpda_surrogate(input.model.classifier, layers, flags.model.allow_torchscript));
  }
  const auto plan = plan_evaluation(input, options);
  for (const auto& unused : plan.unused) line.warn_unused(unused.name, unused.why);
  for (const auto& text : plan.notes) line.monitor().warn(text);
  if (workers.first() ? !say_cost(input, options, plan, workers.size(), line) : line.dry_run) return 0;
  return share(input, options, plan, workers, arguments, line);
}

}  // namespace hpm::app
