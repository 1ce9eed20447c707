// defines: print_outcome()
#pragma once
#include <string>

#include "hpm/evaluation/run/evaluate.h"

namespace hpm::app {

/// Prints what makes an evaluation suspect and what to do next, a line for each context and peer, the accuracy at each
/// radius where there are several, and where the report is.
void print_outcome(const EvaluationOutcome& outcome, const EvaluationOptions& options, const std::string& report);

}  // namespace hpm::app
