#include "training_options.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/fingerprint.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/models/torchscript.h"

namespace hpm::app {

void fields(Fields& f, TrainingOptions& o) {
  fields(f, o.threat, false);
  f.section("adversary");
  f.add("attack-steps", o.adversary.steps, "PGD steps of the training adversary", {.min = 0, .max = 1000});
  f.add("attack-step-size", o.adversary.step_size, "its step length (none: eps / 2)",
        {.min = 0, .unit = "input range"});
  f.add("batch-norm", o.adversary.batch_norm, "statistics in training passes: frozen, or each batch's",
        {.choices = {"running", "batch"}});
  f.section("training");
  f.add("epochs", o.loop.epochs, "passes over the training images", {.min = 0, .max = 100000});
  f.add("train-batch", o.loop.batch, "images a step", {.min = 1, .max = 65536});
  f.add("seed", o.loop.seed, "of order, augmentation, adversaries and initial weights");
  hpm::fields(f, o.loop.augment);
  hpm::fields(f, o.loop.optimizer);
  hpm::fields(f, o.compute);
}

void TrainingOptions::resolve() {
  const auto radii = threats(threat);
  require(radii.size() == 1, "--eps: needs one radius to train with, but got {}", threat.eps);
  adversary.threat = radii.front();
}

void TrainingOptions::finish(const RunDirectory& run, const CommandLine& line, const Classifier& start,
                             const Dataset& data) {
  loop.state_file = run.file("training.safetensors");
  loop.resume = line.resume;
  // Everything the result depends on: the options but those of computing, and contents in place of paths. The images
  // themselves are not read for it, their labels are.
  Fingerprint all;
  all.add_options(line.fields, {"model", "data-root", "compute"});
  all.set("--device", start.device().is_cuda() ? "cuda" : "cpu");
  all.add_model("the model", start);
  const auto labels = data.labels.contiguous();
  Sha256 hash;
  hash.update({static_cast<const std::byte*>(labels.data_ptr()), labels.nbytes()});
  all.set("SHA-256 of the labels", hash.hex());
  if (line.resume) all.require_same(run.path());
  loop.fingerprint = all.digest();
  all.write(run.path());
}

void say_frozen(CommandLine& line, const Classifier& classifier) {
  if (!is_torchscript(classifier)) return;
  line.monitor().say("batch norm is frozen: a TorchScript module stays in evaluation mode, its parameters are trained");
  line.warn_unused("batch-norm", "a TorchScript module keeps its running statistics");
}

TrainingLog::TrainingLog(const RunDirectory& run, CommandLine& line) : run_(run), line_(line) {
  if (line.resume && std::filesystem::exists(run.file("log.csv"))) csv_ = read_file(run.file("log.csv")).text();
}

std::function<void(const EpochReport&)> TrainingLog::callback() {
  return [this](const EpochReport& e) {
    csv_ += fmt::format("{},{:.6g},{:.3f},{:.1f}\n", e.epoch, e.loss, e.adversarial_accuracy, e.seconds);
    run_.write("log.csv", csv_);
    line_.monitor().say(fmt::format("epoch {}: loss {:.4f}, adversarial accuracy {:.2f} %, {:.0f} s", e.epoch, e.loss,
                                    e.adversarial_accuracy, e.seconds));
  };
}

void TrainingLog::done(const std::string& file) const {
  if (line_.json)
    fmt::print("{}\n", json_text(nlohmann::ordered_json{{"out", run_.path()}, {"model", run_.file(file)}}));
  else fmt::print("{}\n", run_.file(file));
}

}  // namespace hpm::app
