// Measured runs on the emulated device, and the committed table that they are compared with.
#pragma once
#include "hpm/attacks/images.h"
#include "hpm/core/progress.h"
#include "hpm/models/classifier.h"
#include "hpm/prototypes/model.h"
#include "support/emulated_device.h"

namespace hpm::test {

/// Counts the steps of an attack.
struct Steps : Monitor {
  void tick() override { ++count; }
  int64_t count = 0;
};

/// Compares what a run cost with its row of tests/device/synchronisations.json. `steps`: 0 where the work has none. The
/// row may cost less than the table says, never more. On a GPU nothing is compared. With HPM_UPDATE_SYNCHRONISATIONS=1
/// the table is written anew; with HPM_TRACE_SYNCHRONISATIONS=1 each wait is printed.
void compare_with_table(const std::string& row, const DeviceCounts& cost, int64_t steps);

/// The committed table: a name -> what it cost.
struct TableRow {
  int64_t steps, synchronisations;
};
std::map<std::string, TableRow> synchronisation_table();

/// Runs f(monitor) and compares its cost with the table.
template <class F>
auto measured(const std::string& row, F f) {
  Steps steps;
  const WaitTrace trace;
  const auto before = device_counts();
  auto result = f(steps);
  compare_with_table(row, device_counts() - before, steps.count);
  return result;
}

inline Tensor on_device(const Tensor& t) { return t.defined() ? t.to(test_device()) : t; }
inline Images on_device(const Images& images) {
  return {on_device(images.x), on_device(images.y), images.index, on_device(images.clean_logits)};
}
inline Classifier on_device(const Classifier& classifier) {
  auto copy = classifier.clone();
  copy.to(test_device(), classifier.scalar_type());
  return copy;
}
inline HpmModel on_device(const HpmModel& model) {
  auto copy = model.clone();
  copy.to(test_device(), model.classifier.scalar_type());
  return copy;
}

}  // namespace hpm::test
