// defines: Killer, StepCounter
#pragma once
#include <cstdint>

#include "hpm/core/progress.h"

namespace hpm::test {

/// Stops a run after so many steps of its attacks: what a kill does to it.
class Killer : public Monitor {
 public:
  explicit Killer(int64_t ticks) : left_(ticks) {}
  void tick() override {
    if (left_-- == 0) throw Interrupted("killed");
  }

 private:
  int64_t left_;
};

/// Counts the steps of a run's attacks.
class StepCounter : public Monitor {
 public:
  void tick() override { ++count; }
  int64_t count = 0;
};

}  // namespace hpm::test
