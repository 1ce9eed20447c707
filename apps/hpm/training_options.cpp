#include "training_options.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/results/fingerprint.h"
#include "hpm/io/sha256.h"
#include "hpm/models/torchscript.h"
#include "hpm/report/png.h"

namespace hpm::app {

void fields(Fields& f, TrainingOptions& o, const std::string& average) {
  fields(f, o.threat, false);
  hpm::fields(f, o.method);
  hpm::fields(f, o.awp);
  f.section("adversary");
  f.add("attack-steps", o.adversary.steps, "PGD steps of the training adversary", {.min = 0, .max = 1000});
  f.add("attack-step-size", o.adversary.step_size, "its step length (none: eps / 2; n-fgsm: eps; fgsm-rs: 1.25 eps)",
        {.min = 0, .unit = "input range"});
  f.add("batch-norm", o.adversary.batch_norm, "statistics in training passes: frozen, or each batch's",
        {.choices = {"running", "batch"}});
  f.section("training");
  f.add("epochs", o.loop.epochs, "passes over the training images", {.min = 0, .max = 100000});
  f.add("train-batch", o.loop.batch, "images a step", {.min = 1, .max = 65536});
  f.add("seed", o.loop.seed, "of order, augmentation, adversaries and initial weights");
  f.add("extra", o.extra, "npz:FILE (or another data set) of further training images");
  f.add("extra-share", o.loop.extra.share, "their share of every batch", {.min = 0, .max = 1});
  f.add("save-every", o.save_every,
        "how often the state is saved beside each epoch's end: a time (5m, 90s), a number of steps, or epoch");
  f.add("tensorboard", o.tensorboard, "write an event file for TensorBoard into the run directory");
  hpm::fields(f, o.loop.augment);
  hpm::fields(f, o.loop.optimizer);
  hpm::fields(f, o.loop.average, average);
  hpm::fields(f, o.loop.validation);
  f.section("compute");
  f.add("device", o.compute.device, "cpu, cuda or cuda:<i>");
  f.add("threads", o.compute.threads, "threads (0: all cores)", {.min = 0, .max = 4096});
  f.add("batch-size", o.loop.validation.batch, "images per pass of validation; never changes a result",
        {.min = 1, .max = 65536});
  f.add("precision", o.adversary.precision,
        "of training's passes (fast: float32, the adversary's by an attack's fast convolutions; bfloat16: convolutions "
        "alone, weights stay float32)",
        {.choices = {"float32", "fast", "bfloat16"}});
}

namespace {

void warn_unread(CommandLine& line, const TrainingOptions& o) {
  const auto& reads = find_method(o.method.objective).reads;
  for (const std::string name : {"attack-steps", "beta", "noise-radius", "grad-align"})
    if (std::find(reads.begin(), reads.end(), name) == reads.end() && !(o.fits_head && name == "attack-steps"))
      line.warn_unused(name, fmt::format("--objective {} does not read it", o.method.objective));
  const auto& [optimizer, schedule] = std::tie(o.loop.optimizer.optimizer, o.loop.optimizer.schedule);
  if (optimizer != "sgd")
    for (const char* name : {"momentum", "nesterov"}) line.warn_unused(name, "only --optimizer sgd reads it");
  if (schedule != "piecewise")
    for (const char* name : {"milestones", "lr-decay"}) line.warn_unused(name, "only --schedule piecewise reads it");
  if (schedule != "one-cycle") line.warn_unused("peak", "only --schedule one-cycle reads it");
  else line.warn_unused("warmup", "--schedule one-cycle has its own");
  if (o.awp.gamma == 0) line.warn_unused("awp-warmup", "there is no --awp");
  if (o.loop.average.decay == 0)
    for (const char* name : {"average-from", "bn-batches"}) line.warn_unused(name, "no average of the weights is kept");
  else if (o.adversary.batch_norm == "running")
    line.warn_unused("bn-batches", "batch norm's statistics are frozen (--batch-norm running)");
  if (o.loop.validation.images == 0)
    for (const char* name : {"validate-every", "validation-steps", "patience"})
      line.warn_unused(name, "no images are held out (--validation)");
}

/// Training with an adversary of one step can become blind to all others, and only a validation shows it.
void warn_unguarded(CommandLine& line, const TrainingOptions& o) {
  const bool one_step = find_method(o.method.objective).one_step || o.adversary.steps == 1;
  if (!one_step || o.loop.validation.images > 0 || o.loop.epochs == 0) return;
  line.monitor().warn(
      "training with an adversary of one step can overfit catastrophically (robust to FGSM, not to PGD), and without "
      "held-out images nothing notices it; --validation 1000 looks after each epoch and keeps the best weights");
}

}  // namespace

void TrainingOptions::resolve(CommandLine& line) {
  compute.batch_size = loop.validation.batch, compute.precision = adversary.precision;
  const auto radii = threats(threat);
  require(radii.size() == 1, "--eps: needs one radius to train with, but got {}", threat.eps);
  adversary.threat = loop.threat = radii.front();
  loop.save_every = parse_save_every(save_every);
  require(loop.average.decay < 1, "the average of the weights needs a share below 1: with 1 it would never move");
  require(!extra.empty() || loop.extra.share == 0, "--extra-share: needs the images themselves, --extra npz:FILE");
  if (!extra.empty()) {
    require(loop.extra.share > 0 && loop.extra.share < 1,
            "--extra: needs an --extra-share over 0 and below 1, but got {}", loop.extra.share);
    const auto name = extra.ends_with(".npz") && extra.find(':') == std::string::npos ? "npz:" + extra : extra;
    auto data = load_dataset(name, "train");
    say_notes(data, line.monitor());
    loop.extra.data = std::make_shared<const Dataset>(std::move(data));
  }
  warn_unread(line, *this);
  warn_unguarded(line, *this);
}

void TrainingOptions::finish(const RunDirectory& run, const CommandLine& line, const Classifier& start,
                             const Dataset& data) {
  loop.state_file = run.file("training.safetensors");
  loop.resume = line.resume;
  // Everything the result depends on: the options but those of how and where it is computed, and contents in place of
  // paths. The images themselves are not read for it, their labels are.
  Fingerprint all;
  all.add_options(line.fields, {"model", "data-root", "save-every", "tensorboard", "device", "threads", "batch-size"});
  all.set("--device", start.device().is_cuda() ? "cuda" : "cpu");
  all.add_model("the model", start);
  const auto hash_of = [](const Dataset& of) {
    const auto labels = of.labels.contiguous();
    Sha256 hash;
    hash.update({static_cast<const std::byte*>(labels.data_ptr()), labels.nbytes()});
    return hash.hex();
  };
  all.set("SHA-256 of the labels", hash_of(data));
  if (loop.extra.data) all.set("SHA-256 of the extra images' labels", hash_of(*loop.extra.data));
  if (line.resume) all.require_same(run.path(), NewOptions::fine_at_default);
  all.write(run.path());
  for (const auto& [name, value] : all.values()) loop.settings[name] = {value, all.has_default(name)};
}

void say_frozen(CommandLine& line, const Classifier& classifier) {
  if (!is_torchscript(classifier)) return;
  line.monitor().say("batch norm is frozen: a TorchScript module stays in evaluation mode, its parameters are trained");
  line.warn_unused("batch-norm", "a TorchScript module keeps its running statistics");
}

TrainingLog::TrainingLog(const RunDirectory& run, CommandLine& line, bool tensorboard) : run_(run), line_(line) {
  // A run that is replaced takes its event files along (RunDirectory); one that goes on begins a further file.
  if (tensorboard) events_.emplace(run.path());
}

namespace {

void write_scalars(EventFile& events, const EpochReport& e, double rate) {
  events.scalar("train/loss", e.epoch, e.loss);
  events.scalar("train/adversarial accuracy", e.epoch, e.adversarial_accuracy);
  events.scalar("train/learning rate", e.epoch, e.learning_rate);
  events.scalar("train/images per second", e.epoch, rate);
  if (!e.validation) return;
  events.scalar("validation/clean", e.epoch, e.validation->clean);
  events.scalar("validation/fgsm", e.epoch, e.validation->fgsm);
  events.scalar("validation/pgd", e.epoch, e.validation->pgd);
}

/// Clean images above their adversarial versions, as one PNG.
void write_pictures(EventFile& events, const HeldOut& seen, int64_t epoch) {
  static constexpr int64_t kShown = 8;
  if (seen.x.size(1) != 1 && seen.x.size(1) != 3) return;
  const auto row = [](const Tensor& x) -> Tensor { return at::cat(x.slice(0, 0, kShown).unbind(), 2); };  // [C,H,8W]
  const auto picture = (at::cat({row(seen.x), row(seen.adversarial)}, 1) * 255).round().clamp(0, 255).to(at::kByte);
  const auto pixels = picture.permute({1, 2, 0}).contiguous();
  const auto height = pixels.size(0), width = pixels.size(1), channels = pixels.size(2);
  const std::span bytes(pixels.const_data_ptr<uint8_t>(), static_cast<size_t>(pixels.numel()));
  events.image("validation/clean and adversarial", epoch, width, height, channels,
               encode_png(bytes, width, height, channels));
}

}  // namespace

std::function<void(const HeldOut&, const EpochReport&)> TrainingLog::examples() {
  if (!events_) return nullptr;
  return [this](const HeldOut& seen, const EpochReport& e) {
    write_pictures(*events_, seen, e.epoch);
    const auto histogram = [&](const std::string& tag, const Tensor& margins) {
      const auto values = margins.to(at::kDouble).contiguous();
      events_->histogram(tag, e.epoch, {values.const_data_ptr<double>(), static_cast<size_t>(values.numel())});
    };
    histogram("validation/margins, clean", seen.clean_margins);
    histogram("validation/margins, adversarial", seen.adversarial_margins);
  };
}

std::function<void(const EpochReport&)> TrainingLog::callback() {
  return [this](const EpochReport& e) {
    const double rate = static_cast<double>(e.images) / std::max(e.seconds, 1e-9);
    const auto& v = e.validation;
    csv_ += fmt::format("{},{:.6g},{:.3f},{:.1f},{:.6g},{:.1f},{},{},{},{:.3f}\n", e.epoch, e.loss,
                        e.adversarial_accuracy, e.seconds, e.learning_rate, rate,
                        v ? fmt::format("{:.3f},{:.3f},{:.3f}", v->clean, v->fgsm, v->pgd) : ",,", int(e.best),
                        int(e.overfitting), e.outside);
    run_.write("log.csv", csv_);
    if (e.restored) return;
    if (events_) write_scalars(*events_, e, rate);
    line_.monitor().say(fmt::format("epoch {}: loss {:.4f}, adversarial accuracy {:.2f} %, {:.0f} s, {:.0f} images/s{}",
                                    e.epoch, e.loss, e.adversarial_accuracy, e.seconds, rate,
                                    v ? fmt::format("; held out: clean {:.1f} %, FGSM {:.1f} %, PGD {:.1f} %{}",
                                                    v->clean, v->fgsm, v->pgd, e.best ? ", the best so far" : "")
                                      : ""));
  };
}

std::function<void(const HpmModel&, const EpochReport&)> TrainingLog::keep_best(
    std::string source, std::map<std::string, std::string> notes) const {
  return [this, source = std::move(source), notes = std::move(notes)](const HpmModel& model, const EpochReport& e) {
    auto all = notes;
    all["training.epoch"] = std::to_string(e.epoch);
    all["training.validation-pgd"] = fmt::format("{:.2f}", e.validation->pgd);
    save_model(model, run_.file("best.safetensors"), source, all);
  };
}

void TrainingLog::done(const std::string& file) const {
  if (line_.json)
    fmt::print("{}\n", json_text(nlohmann::ordered_json{{"out", run_.path()}, {"model", run_.file(file)}}));
  else fmt::print("{}\n", run_.file(file));
}

}  // namespace hpm::app
