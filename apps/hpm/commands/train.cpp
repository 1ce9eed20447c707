#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/io/sha256.h"
#include "hpm/models/registry.h"
#include "hpm/training/adversarial_training.h"
#include "options.h"
#include "training_options.h"
#include "workers.h"

namespace hpm::app {

int train(const Arguments& arguments) {
  CommandLine line(
      "train",
      "Adversarial training, from scratch (--arch) or from a checkpoint (--model): PGD, TRADES, MART or one-step "
      "objectives, with weight perturbation (--awp) and weight averaging (--ema). Recipes: configs/.",
      "hpm train --config configs/mart-ema-wrn10-2.toml --out runs/mart");
  ModelOptions model_options;
  DataOptions data_options;
  TrainingOptions o;
  o.loop.epochs = 20;
  o.loop.optimizer.lr = 1e-3;
  o.adversary.batch_norm = "batch";
  fields(line.fields, model_options);
  fields(line.fields, data_options, "train");
  fields(line.fields, o, "ema");
  line.with_run_directory(true);
  if (!line.parse(arguments)) return 0;
  require_alone(line.verb());
  configure_threads(o.compute.threads);
  o.resolve(line);
  for (const auto& warning : threat_warnings({o.adversary.threat})) line.monitor().warn(warning);
  const auto data = load(data_options, line);
  for (const char* name : {"first", "indices"})
    line.warn_unused(name, "training reads the images from 0 on (--count limits them)");
  o.loop.images = image_numbers({.count = data_options.count}, data).numel();

  HpmModel model;
  if (model_options.model.empty()) {
    auto& card = model_options.card;
    require(card.arch != "auto", "train: needs --arch (a name or a LAYERS string), or --model to start from");
    // A network that is trained on the images as they are knows that: mean 0 and std 1.
    Normalisation normalisation{card.mean, card.std};
    if (normalisation.identity()) normalisation = {{0}, {1}};
    model.classifier = make_classifier(card.arch, data.classes(), data.image_shape(), normalisation, o.loop.seed);
  } else {
    model = load(model_options, model_options.model, data.image_shape(), line.monitor(), "training starts from it");
    require_classes(model, data);
    say_frozen(line, model.classifier);
    if (model.head)
      line.monitor().warn("the HPM head is left behind: train moves the FC classifier (hpm finetune trains HPM)");
    model.head.reset();
  }
  model.to(parse_device(o.compute.device));
  const auto objective =
      with_awp(std::make_unique<AdversarialTraining>(model, o.adversary, o.loop.seed, o.method), o.awp);
  check_training(data, model.classifier.classes(), o.loop);
  const auto run = open_run(line, "train", o.compute, o.loop.seed);
  o.finish(run, line, model.classifier, data);
  TrainingLog log(run, line, o.tensorboard);
  const auto source = fmt::format("hpm train on {}, {} eps {}", data.name, o.threat.norm, o.threat.eps);
  const std::map<std::string, std::string> notes{{"training.norm", o.threat.norm},
                                                 {"training.eps", o.threat.eps},
                                                 {"training.data", data.name},
                                                 {"training.objective", o.method.objective}};
  o.loop.on_validation = log.examples();
  o.loop.on_best = log.keep_best(source, notes);
  hpm::train(*objective, data, o.loop, line.monitor(), log.callback());
  model.to(at::kCPU);
  save_model(model, run.file("model.safetensors"), source, notes);
  log.done("model.safetensors");
  return 0;
}

}  // namespace hpm::app
