// defines: AverageOptions, WeightAverage, StateSwap, state_to_average(), reestimate_batch_norm()
#pragma once
#include <map>
#include <string>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/training/objective.h"

namespace hpm {

/// An exponential moving average of the weights beside the weights that training moves.
struct AverageOptions {
  double decay = 0;      ///< share of the old average that a step keeps; 0: no average
  double from = 0;       ///< share of the run at which averaging begins: until then the average is the weights
  int64_t batches = 16;  ///< that re-estimate batch norm's statistics for the average; 0: these are averaged too
};
/// `name` is the flag of the decay.
void fields(Fields& f, AverageOptions& o, const std::string& name);

/// What is averaged: a model's floating-point tensors that training moves, under their checkpoint names.
std::vector<std::pair<std::string, Tensor>> state_to_average(const HpmModel& model);

/// The average
///
///     a <- d a + (1 - d) w,   d = min(decay, (1 + t) / (10 + t)),   t = steps averaged so far
///
/// of weights and buffers: the smaller d at first lets the average forget where training began.
class WeightAverage {
 public:
  WeightAverage(const HpmModel& model, double decay);
  /// After a step. With `follow` the average becomes the weights themselves.
  void update(const HpmModel& model, bool follow);
  const std::vector<std::pair<std::string, Tensor>>& tensors() const { return average_; }
  int64_t steps() const { return steps_; }
  /// Takes over a stored average: tensors under their names, and its number of steps.
  void restore(const std::map<std::string, Tensor>& stored, int64_t steps);

 private:
  double decay_;
  int64_t steps_ = 0;
  std::vector<std::pair<std::string, Tensor>> average_;
};

/// For its lifetime a model's state holds other values.
class StateSwap {
 public:
  StateSwap(HpmModel& model, const std::vector<std::pair<std::string, Tensor>>& values);
  ~StateSwap();
  StateSwap(const StateSwap&) = delete;
  StateSwap& operator=(const StateSwap&) = delete;

 private:
  std::vector<std::pair<Tensor, Tensor>> before_;
};

/// Copies values into a model's tensors of the same names.
void copy_into(HpmModel& model, const std::vector<std::pair<std::string, Tensor>>& values);

/// Sets batch norm's running statistics to their means over the objective's passes on `batches`: an average of weights
/// has other statistics than the average of its weights' statistics. Nothing happens where training freezes them.
void reestimate_batch_norm(Objective& objective, const std::vector<TrainingBatch>& batches);

}  // namespace hpm
