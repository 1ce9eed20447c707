// defines: TrainingOptions, TrainingLog: what train and finetune share
#pragma once
#include "hpm/training/finetune.h"
#include "options.h"

namespace hpm::app {

struct TrainingOptions {
  ThreatOptions threat;
  AdversaryOptions adversary;
  TrainOptions loop;
  ComputeOptions compute;

  /// Threat model and loop from what was given.
  void resolve();
  /// State file, resume and fingerprint of the run.
  void finish(const RunDirectory& run, const CommandLine& line, const Classifier& start, const Dataset& data);
};
void fields(Fields& f, TrainingOptions& o);
/// Says of a module from TorchScript that its batch norm is frozen.
void say_frozen(CommandLine& line, const Classifier& classifier);

/// Prints epochs and keeps them in log.csv.
class TrainingLog {
 public:
  /// A run that goes on keeps the lines of its finished epochs.
  TrainingLog(const RunDirectory& run, CommandLine& line);
  std::function<void(const EpochReport&)> callback();
  /// The last line of the verb: where the model is.
  void done(const std::string& file) const;

 private:
  const RunDirectory& run_;
  CommandLine& line_;
  std::string csv_ = "epoch,loss,adversarial_accuracy,seconds\n";
};

}  // namespace hpm::app
