// defines: Verdict, Outcome, verdict_of()
#pragma once
#include <string>
#include <vector>

#include "hpm/report/comparison_impl.h"

namespace hpm {

enum class Outcome { suspect, no_attack, no_control, not_tested, gain, no_difference, loss };

/// What a run shows, in plain ASCII words made from its numbers. `sentence` states the outcome; a suspect result says
/// so before any number. `remarks` say what limits it: the smallest difference that could have been seen, what the
/// clean accuracy and the other contexts do, what fine-tuning alone brings, what was not attacked or not checked.
struct Verdict {
  Outcome outcome = Outcome::no_control;
  std::string sentence;
  std::vector<std::string> remarks;

  const char* name() const;   ///< "gain", "no-difference", ...
  const char* title() const;  ///< "More robust than the control", "No detectable difference", ...
};

/// The verdict on `run` in its first context, worst case over everything that attacked it, by difference_of():
/// sentence and title() say the same of it. `control`: the control's own run, whose checks
/// count too.
Verdict verdict_of(const ReportedRun& run, const ReportedRun* control = nullptr);

}  // namespace hpm
