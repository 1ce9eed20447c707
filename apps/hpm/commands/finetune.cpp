#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/models/torchscript.h"
#include "options.h"
#include "training_options.h"
#include "workers.h"

namespace hpm::app {
namespace {

struct FinetuneFlags {
  ModelOptions model;
  DataOptions data;
  TrainingOptions training;
  FinetuneOptions finetune;
  std::string preset, context = "solo";
};

void declare(Fields& f, FinetuneFlags& o) {
  fields(f, o.model);
  fields(f, o.data, "train");
  f.section("hpm");
  f.add("head", o.finetune.head, "what to attach: hpm, l2 (lambda = 1), or fc: the matched control",
        {.choices = {"hpm", "l2", "fc"}});
  f.add("preset", o.preset, "paper: metric none, lambda .5, joint, STE adversary", {.choices = {"", "paper"}});
  f.add("metric", o.finetune.metric, "space of the distances", {.choices = {"none", "l2norm", "learned"}});
  f.add("rank", o.finetune.rank, "rows of the learned metric (0: classes - 1)", {.min = 0});
  f.add("lambda", o.finetune.lambda, "weight of the stable prototypes", {.min = 0, .max = 1});
  f.add("tau", o.finetune.tau, "temperature of the logits (none: fitted, then learned)", {.min = 1e-12});
  f.add("assign-temperature", o.finetune.temperature, "T_a of the soft assignment", {.min = 1e-6});
  f.add("ema", o.finetune.ema, "beta: share of the old means in each update", {.min = 0, .max = 1});
  f.add("train-context", o.context, "company in training", {.choices = {"solo", "joint", "alone"}});
  f.add("adversary", o.finetune.training.adversary, "surrogate that training PGD climbs",
        {.choices = {"hard", "ste", "fc"}});
  f.add("fc-weight", o.finetune.training.fc_weight, "weight of CE(FC) beside CE(HPM)", {.min = 0});
  f.add("fit-images", o.finetune.fit_images, "training images that fit the metric and calibrate the reference context",
        {.min = 1});
  f.add("fit-rounds", o.finetune.fit_rounds, "1: adversaries against FC; 2: and against the fitted head",
        {.min = 1, .max = 10});
  f.add("metric-steps", o.finetune.metric_steps, "Adam steps of each round", {.min = 0});
  fields(f, o.training, "weight-ema");
}

/// A preset fills in what the user did not give.
void apply_preset(CommandLine& line, FinetuneFlags& o) {
  if (o.preset != "paper") return;
  for (const auto& [name, value] :
       {std::pair{"metric", "none"}, {"lambda", "0.5"}, {"train-context", "joint"}, {"adversary", "ste"}})
    if (!line.fields.given(name)) line.fields.set(name, value, Origin::file, "--preset paper");
}

void warn_unread(CommandLine& line, const FinetuneOptions& o) {
  if (o.head == "fc")
    for (const char* name : {"preset", "metric", "rank", "lambda", "tau", "assign-temperature", "ema", "train-context",
                             "adversary", "fc-weight", "fit-images", "fit-rounds", "metric-steps"})
      line.warn_unused(name, "the matched control (--head fc) has no HPM head");
  if (o.head == "l2") line.warn_unused("lambda", "--head l2 means lambda = 1");
  if (o.metric != "learned")
    for (const char* name : {"rank", "metric-steps", "fit-rounds"})
      line.warn_unused(name, "only --metric learned reads it");
  for (const char* name : {"first", "indices"})
    line.warn_unused(name, "training reads the images from 0 on (--count limits them)");
}

}  // namespace

int finetune(const Arguments& arguments) {
  CommandLine line("finetune",
                   "Attaches Hybrid Prototype Mixing to an adversarially trained model and fine-tunes it; --head fc is "
                   "the matched control.",
                   "hpm finetune --model base.pth --data cifar10 --norm Linf --eps 8/255 --head hpm --out runs/hpm");
  FinetuneFlags o;
  declare(line.fields, o);
  line.with_run_directory(true);
  if (!line.parse(arguments)) return 0;
  require_alone(line.verb());
  apply_preset(line, o);
  const bool control = o.finetune.head == "fc";
  warn_unread(line, o.finetune);
  configure_threads(o.training.compute.threads);
  o.training.fits_head = !control;
  o.training.resolve(line);
  for (const auto& warning : threat_warnings({o.training.adversary.threat})) line.monitor().warn(warning);
  const auto data = load(o.data, line);
  o.training.loop.images = image_numbers({.count = o.data.count}, data).numel();
  auto model = load(o.model, o.model.model, data.image_shape(), line.monitor(), "fine-tuning starts from it");
  require_classes(model, data);
  require_features(model.classifier, "finetune");
  say_frozen(line, model.classifier);
  if (model.head && !control) line.monitor().warn("the model has an HPM head already: it is fitted anew");
  model.to(parse_device(o.training.compute.device));

  auto& options = o.finetune;
  options.adversary = o.training.adversary;
  options.method = o.training.method;
  options.awp = o.training.awp;
  options.loop = o.training.loop;
  options.training.context = parse_context(o.context);
  check_finetune(model, data, options);
  const auto run = open_run(line, "finetune", o.training.compute, o.training.loop.seed);
  o.training.finish(run, line, model.classifier, data);
  options.loop = o.training.loop;  // with the run's state file
  TrainingLog log(run, line, o.training.tensorboard);
  const auto source = fmt::format("hpm finetune --head {} of {}, {} eps {}", options.head, o.model.model,
                                  o.training.threat.norm, o.training.threat.eps);
  const std::map<std::string, std::string> notes{{"training.norm", o.training.threat.norm},
                                                 {"training.eps", o.training.threat.eps},
                                                 {"training.data", data.name},
                                                 {"training.head", options.head}};
  options.loop.on_validation = log.examples();
  options.loop.on_best = log.keep_best(source, notes);
  auto tuned = hpm::finetune(model, data, options, line.monitor(), log.callback());
  tuned.to(at::kCPU);
  save_model(tuned, run.file("model.safetensors"), source, notes);
  log.done("model.safetensors");
  return 0;
}

}  // namespace hpm::app
