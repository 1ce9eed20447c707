// defines: TrainingOptions, TrainingLog: what train and finetune share
#pragma once
#include "hpm/io/event_file.h"
#include "hpm/training/finetune.h"
#include "options.h"

namespace hpm::app {

struct TrainingOptions {
  ThreatOptions threat;
  AdversaryOptions adversary;
  MethodOptions method;
  AwpOptions awp;
  TrainOptions loop;
  ComputeOptions compute;
  std::string extra, save_every = "5m";
  bool tensorboard = false;
  bool fits_head = false;  ///< the adversary also makes the images that a head is fitted to and calibrated on

  /// Threat model, loop and extra images from what was given; warns of options without effect.
  void resolve(CommandLine& line);
  /// State file, resume, fingerprint and settings of the run. `start`: the network that training starts from.
  void finish(const RunDirectory& run, const CommandLine& line, const Classifier& start, const Dataset& data);
};
/// `average` is the name of the flag for the average's decay.
void fields(Fields& f, TrainingOptions& o, const std::string& average);
/// Says of a module from TorchScript that its batch norm is frozen.
void say_frozen(CommandLine& line, const Classifier& classifier);

/// Prints epochs and keeps them in log.csv, the best model so far in best.safetensors, and all of it in an event file
/// where TensorBoard is to read it.
class TrainingLog {
 public:
  TrainingLog(const RunDirectory& run, CommandLine& line, bool tensorboard);
  std::function<void(const EpochReport&)> callback();
  /// Writes the model of a validation that is the best so far; `source` and `notes` as in save_model.
  std::function<void(const HpmModel&, const EpochReport&)> keep_best(std::string source,
                                                                     std::map<std::string, std::string> notes) const;
  /// Writes what validation looked at to the event file; null where there is none.
  std::function<void(const HeldOut&, const EpochReport&)> examples();
  /// The last line of the verb: where the model is.
  void done(const std::string& file) const;

 private:
  const RunDirectory& run_;
  CommandLine& line_;
  std::optional<EventFile> events_;
  std::string csv_ =
      "epoch,loss,adversarial_accuracy,seconds,learning_rate,images_per_second,validation_clean,validation_fgsm,"
      "validation_pgd,best,overfitting,seconds_outside\n";
};

}  // namespace hpm::app
