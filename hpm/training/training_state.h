// defines: EpochReport, Setting, Settings, SaveEvery, parse_save_every(), TrainingProgress, TrainingState
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hpm/core/progress.h"
#include "hpm/training/validation.h"

namespace hpm {

/// The outcome of an epoch.
struct EpochReport {
  int64_t epoch = 0;
  double loss = 0, adversarial_accuracy = 0, seconds = 0;  ///< accuracy in percent, of the training batches as seen
  double learning_rate = 0;                                ///< of its last step
  int64_t images = 0;
  double outside = 0;  ///< of `seconds`, those outside of adversary and loss: batches, optimiser, average (the host's)
  std::optional<Validation> validation = {};
  bool best = false;         ///< the best validation so far: these weights are kept
  bool overfitting = false;  ///< catastrophic overfitting was noticed
  bool restored = false;     ///< the epoch was finished before this process began
};

/// An option that decides the result of training, as text.
struct Setting {
  std::string value;
  bool is_default = true;
};
using Settings = std::map<std::string, Setting>;

/// How often the state is saved within an epoch, beside each epoch's end; both 0: never.
struct SaveEvery {
  int64_t steps = 0;
  double seconds = 300;
};
/// "5m", "90s", "1h", a number of steps, or "epoch". Throws UsageError for anything else.
SaveEvery parse_save_every(const std::string& text);

/// Where a run stands.
struct TrainingProgress {
  int64_t epoch = 0;     ///< under way, from 0
  int64_t step = 0;      ///< the next one of it
  double seconds = 0;    ///< spent in it
  double outside = 0;    ///< of these, see EpochReport
  Tensor loss_sum;       ///< over its images
  Tensor correct_sum;    ///< images that were right under attack
  int64_t averaged = 0;  ///< steps in the weight average
  std::vector<EpochReport> history;
};

/// A state as it is written and read back: a safetensors file with
///   the model's tensors under their names, "average.<name>", "best.<name>", "optimizer", "loss_sum", "correct_sum"
///   metadata "progress", "settings" (both JSON) and "crc32" of all tensors' bytes.
struct TrainingState {
  std::vector<std::pair<std::string, Tensor>> tensors;
  TrainingProgress progress;

  /// Tensors whose name begins with `prefix`, without it.
  std::map<std::string, Tensor> with_prefix(const std::string& prefix) const;
};

/// The file that the state before the last one is kept in.
std::string previous_state_file(const std::string& path);

/// Writes a state; the one that was at `path` becomes the previous one. At every moment one of the two is complete.
void save_training_state(const std::string& path, const TrainingState& state, const Settings& settings);

/// Reads the last state, or with a warning the one before it where the last is damaged or missing; none where neither
/// is there. Throws Error that names the option where the state belongs to other settings, and where both are damaged.
std::optional<TrainingState> load_training_state(const std::string& path, const Settings& settings, Monitor& monitor);

}  // namespace hpm
