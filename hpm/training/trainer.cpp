#include "hpm/training/trainer.h"

#include "hpm/core/error.h"

namespace hpm {
namespace {

using Clock = std::chrono::steady_clock;
using NamedState = std::vector<std::pair<std::string, Tensor>>;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void require_options(const TrainOptions& o) {
  require(o.epochs >= 0 && o.batch >= 1, "train: needs epochs >= 0 and batch >= 1, but got {} and {}", o.epochs,
          o.batch);
  require(o.validation.every >= 1 && o.validation.patience >= 0,
          "train: needs validations every 1 or more epochs and a patience of 0 or more, but got {} and {}",
          o.validation.every, o.validation.patience);
}

NamedState copy_of(const NamedState& state) {
  NamedState copy;
  for (const auto& [name, tensor] : state) copy.emplace_back(name, tensor.detach().clone());
  return copy;
}

class TrainingRun {
 public:
  TrainingRun(Objective& objective, const Dataset& data, const TrainOptions& options, Monitor& monitor,
              const std::function<void(const EpochReport&)>& after_epoch)
      : objective_(objective),
        data_(data),
        options_(options),
        monitor_(monitor),
        after_epoch_(after_epoch),
        device_(objective.model().classifier.device()),
        split_(split_images(data.size(), options.images, options.validation.images, options.seed)),
        batches_(data, split_.training, options.batch, options.augment, options.extra,
                 objective.model().classifier.classes(), options.seed),
        optimizer_(options.optimizer, objective.parameters()) {
    if (options.average.decay > 0) average_.emplace(objective.model(), options.average.decay);
    begin_epoch(0);
  }

  void resume();
  void run();

 private:
  int64_t total_steps() const { return batches_.steps() * options_.epochs; }
  void begin_epoch(int64_t epoch);
  void step();
  void end_epoch();
  Overfitting validated(EpochReport& report);
  void warn_of(Overfitting sign, const EpochReport& report);
  std::vector<TrainingBatch> statistics_batches();
  bool out_of_patience() const;
  void finish();
  bool due() const;
  void save();
  [[noreturn]] void fail_not_finite(const std::string& what) const;
  std::string last_good_state() const;

  Objective& objective_;
  const Dataset& data_;
  const TrainOptions& options_;
  Monitor& monitor_;
  const std::function<void(const EpochReport&)>& after_epoch_;
  at::Device device_;
  TrainingSplit split_;
  TrainingBatches batches_;
  Optimizer optimizer_;
  std::optional<WeightAverage> average_;
  NamedState best_;  // the state of the best validation
  std::optional<Validation> best_validation_;
  TrainingProgress progress_;
  HeldOut seen_;
  int64_t images_done_ = 0;  // by this process
  int64_t steps_unsaved_ = 0;
  std::string saved_;  // what the file on the disk stands for; "" where there is none
  Clock::time_point epoch_start_ = Clock::now(), last_save_ = Clock::now();
};

void TrainingRun::begin_epoch(int64_t epoch) {
  progress_.epoch = epoch, progress_.step = 0, progress_.seconds = progress_.outside = 0;
  progress_.loss_sum = at::zeros({}, at::TensorOptions(device_));
  progress_.correct_sum = at::zeros({}, at::TensorOptions(device_).dtype(at::kLong));
  epoch_start_ = Clock::now();
}

std::string place(const TrainingProgress& p) { return fmt::format("epoch {}, step {}", p.epoch + 1, p.step); }

void TrainingRun::resume() {
  auto state = load_training_state(options_.state_file, options_.settings, monitor_);
  if (!state) return;
  const auto model = state->with_prefix("model.");
  copy_into(objective_.model(), {model.begin(), model.end()});
  const auto optimizer = state->with_prefix("optimizer");
  if (!optimizer.contains("")) fail("{}: has no state of the optimiser", options_.state_file);
  optimizer_.restore(optimizer.at(""));
  if (average_) average_->restore(state->with_prefix("average."), state->progress.averaged);
  for (const auto& [name, tensor] : state->with_prefix("best.")) best_.emplace_back(name, tensor.to(device_));
  progress_ = std::move(state->progress);
  progress_.loss_sum = progress_.loss_sum.to(device_), progress_.correct_sum = progress_.correct_sum.to(device_);
  for (const auto& e : progress_.history) {
    if (e.best) best_validation_ = e.validation;
    if (after_epoch_) after_epoch_(e);
  }
  saved_ = place(progress_);
}

void TrainingRun::save() {
  if (options_.state_file.empty()) return;
  TrainingState state{{}, progress_};
  state.progress.seconds += since(epoch_start_);
  state.progress.averaged = average_ ? average_->steps() : 0;
  for (const auto& [name, tensor] : objective_.model().state()) {
    if (name == "hpm.lambda") continue;
    if (tensor.is_floating_point() && !tensor.detach().isfinite().all().item<bool>())
      fail_not_finite(fmt::format("{} is not finite any more", name));
    state.tensors.emplace_back("model." + name, tensor);
  }
  if (average_)
    for (const auto& [name, tensor] : average_->tensors()) state.tensors.emplace_back("average." + name, tensor);
  for (const auto& [name, tensor] : best_) state.tensors.emplace_back("best." + name, tensor);
  state.tensors.emplace_back("optimizer", optimizer_.state());
  save_training_state(options_.state_file, state, options_.settings);
  saved_ = place(progress_);
  steps_unsaved_ = 0, last_save_ = Clock::now();
}

bool TrainingRun::due() const {
  const auto& every = options_.save_every;
  if (every.steps > 0 && steps_unsaved_ >= every.steps) return true;
  return every.seconds > 0 && since(last_save_) >= every.seconds;
}

std::string TrainingRun::last_good_state() const {
  return saved_.empty() ? "" : fmt::format("; the last good state stays in {} ({})", options_.state_file, saved_);
}

void TrainingRun::fail_not_finite(const std::string& what) const {
  fail("train: {} in epoch {}, step {}; a lower --lr or --clip-gradient may help{}", what, progress_.epoch + 1,
       progress_.step + 1, last_good_state());
}

void TrainingRun::step() {
  const int64_t at_step = progress_.step, overall = progress_.epoch * batches_.steps() + at_step;
  auto outside = Clock::now();
  const auto batch = batches_.get(progress_.epoch, at_step, device_);
  progress_.outside += since(outside);
  const auto report = objective_.loss(batch, objective_.adversarial(batch));
  progress_.loss_sum += (report.loss_here.defined() ? report.loss_here : report.loss).detach() * batch.x.size(0);
  // A look at the device makes it wait: on a GPU, every sixteenth step.
  const bool look = device_.is_cpu() || at_step % 16 == 15 || at_step + 1 == batches_.steps();
  if (look && !std::isfinite(progress_.loss_sum.item<double>())) fail_not_finite("the loss is not finite");
  progress_.correct_sum += report.correct_adversarial;
  optimizer_.step(report.loss, overall, total_steps(), [&] {
    outside = Clock::now();
    objective_.after_backward();
  });
  objective_.after_step();
  if (average_)
    average_->update(objective_.model(),
                     static_cast<double>(overall + 1) < options_.average.from * static_cast<double>(total_steps()));
  progress_.outside += since(outside);
  ++progress_.step, ++steps_unsaved_;
  images_done_ += batch.x.size(0);
}

std::vector<TrainingBatch> TrainingRun::statistics_batches() {
  std::vector<TrainingBatch> all;
  for (int64_t i = 0; i < std::min(options_.average.batches, batches_.steps()); ++i)
    all.push_back(batches_.get(progress_.epoch, i, device_));
  return all;
}

/// Validates the average where there is one, and keeps what was validated where it is the best so far.
Overfitting TrainingRun::validated(EpochReport& report) {
  const bool wanted = report.epoch % options_.validation.every == 0 || report.epoch == options_.epochs;
  if (options_.validation.images == 0 || !wanted) return Overfitting::none;
  std::optional<StateSwap> swap;
  if (average_) {
    swap.emplace(objective_.model(), average_->tensors());
    reestimate_batch_norm(objective_, statistics_batches());
  }
  seen_ = {};
  const auto now = validate(objective_, data_, split_.held_out, options_.threat, options_.validation, options_.seed,
                            options_.on_validation ? &seen_ : nullptr);
  report.validation = now;
  const auto sign = catastrophic_overfitting(best_validation_, now, report.adversarial_accuracy);
  report.overfitting = sign != Overfitting::none;
  report.best = !best_validation_ || now.pgd > best_validation_->pgd;
  if (report.best) {
    best_validation_ = now, best_ = copy_of(objective_.model().state());
    std::erase_if(best_, [](const auto& item) { return item.first == "hpm.lambda"; });
    if (options_.on_best) options_.on_best(objective_.model(), report);
  }
  return sign;
}

void TrainingRun::warn_of(Overfitting sign, const EpochReport& report) {
  if (sign == Overfitting::none) return;
  const auto& now = *report.validation;
  const auto pgd = fmt::format("held-out PGD-{} accuracy", options_.validation.steps);
  std::string what;
  if (sign == Overfitting::fall)
    what = fmt::format("{} fell from {:.1f} to {:.1f} % while FGSM's rose to {:.1f} %", pgd, best_validation_->pgd,
                       now.pgd, now.fgsm);
  else if (sign == Overfitting::fgsm)
    what = fmt::format("{} is {:.1f} %, FGSM's {:.1f} % (clean {:.1f} %)", pgd, now.pgd, now.fgsm, now.clean);
  else
    what = fmt::format("{} is {:.1f} %, that on training's own adversarial images {:.1f} %", pgd, now.pgd,
                       report.adversarial_accuracy);
  monitor_.warn(
      fmt::format("catastrophic overfitting in epoch {}: {}; the weights of the best validation are kept. More "
                  "--attack-steps, a larger --noise-radius or --grad-align may help",
                  report.epoch, what));
}

void TrainingRun::end_epoch() {
  const auto images = static_cast<double>(batches_.images());
  EpochReport report{
      .epoch = progress_.epoch + 1,
      .loss = progress_.loss_sum.item<double>() / images,
      .adversarial_accuracy = 100. * progress_.correct_sum.item<double>() / images,
      .learning_rate = learning_rate(options_.optimizer, (progress_.epoch + 1) * batches_.steps() - 1, total_steps()),
      .images = batches_.images(),
      .outside = progress_.outside};
  const auto sign = validated(report);
  report.seconds = progress_.seconds + since(epoch_start_);
  warn_of(sign, report);
  progress_.history.push_back(report);
  begin_epoch(progress_.epoch + 1);
  save();
  if (options_.on_validation && report.validation) options_.on_validation(seen_, report);
  if (after_epoch_) after_epoch_(report);
}

bool TrainingRun::out_of_patience() const {
  if (options_.validation.patience == 0) return false;
  int64_t without = 0;
  for (const auto& e : progress_.history)
    if (e.validation) without = e.best ? 0 : without + 1;
  return without >= options_.validation.patience;
}

void TrainingRun::finish() {
  if (!best_.empty()) return copy_into(objective_.model(), best_);
  if (!average_ || options_.epochs == 0) return;
  copy_into(objective_.model(), average_->tensors());
  progress_.epoch = options_.epochs - 1;
  reestimate_batch_norm(objective_, statistics_batches());
}

void TrainingRun::run() {
  const int64_t per_epoch = batches_.images();
  int64_t left = per_epoch * (options_.epochs - progress_.epoch);
  for (int64_t s = 0; s < progress_.step; ++s) left -= batches_.images_of(s);
  monitor_.begin("train", left, "images");
  try {
    while (progress_.epoch < options_.epochs && !out_of_patience()) {
      while (progress_.step < batches_.steps()) {
        step();
        if (due()) save();
        monitor_.step(images_done_, fmt::format("epoch {}/{}", progress_.epoch + 1, options_.epochs));
      }
      end_epoch();
    }
  } catch (const Interrupted&) {
    if (steps_unsaved_ > 0) save();
    throw;
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    const auto state = last_good_state();
    if (state.empty() || std::string(error.what()).find(state) != std::string::npos) throw;
    throw Error(error.what() + state);
  }
  monitor_.end();
  if (progress_.epoch < options_.epochs)
    monitor_.say(fmt::format("no better validation {} times in a row: stopped after epoch {}",
                             options_.validation.patience, progress_.epoch));
  finish();
}

}  // namespace

void check_training(const Dataset& data, int64_t classes, const TrainOptions& o) {
  require_options(o);
  const auto split = split_images(data.size(), o.images, o.validation.images, o.seed);
  const TrainingBatches batches(data, split.training, o.batch, o.augment, o.extra, classes, o.seed);
  const Optimizer optimizer(o.optimizer, {at::zeros({1})});
}

void train(Objective& objective, const Dataset& data, const TrainOptions& options, Monitor& monitor,
           const std::function<void(const EpochReport&)>& after_epoch) {
  require_options(options);
  TrainingRun run(objective, data, options, monitor, after_epoch);
  if (options.resume && !options.state_file.empty()) run.resume();
  run.run();
}

}  // namespace hpm
