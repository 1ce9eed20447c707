// defines: EvaluationInput, EvaluationPlan, plan_evaluation(), evaluate()
#pragma once
#include <string>
#include <vector>

#include "hpm/data/dataset.h"
#include "hpm/evaluation/results.h"
#include "hpm/evaluation/run/options.h"

namespace hpm {

/// What is evaluated.
struct EvaluationInput {
  HpmModel model;
  Dataset data;
  Tensor index;                             ///< [n] int64: the numbers of the images
  Peers peers = {};                         ///< the model before the defence, and the matched control
  std::vector<Surrogate> surrogates = {};   ///< of the user's own, for any defence
  std::vector<HpmSurrogate> hpm_surrogates = {};  ///< further rows of HPM's table
  std::vector<std::string> notes = {};      ///< what a reader of the results must know about these
};

/// What an evaluation will do.
struct EvaluationPlan {
  Passes passes;               ///< an image that survives everything, at most; with peers and checks
  int64_t radii = 1;           ///< how often: radii that are attacked
  bool differentiable = true;  ///< the model has a gradient; otherwise only stand-ins and queries attack it
  std::vector<std::string> notes = {};  ///< what is probably a mistake, or must be known to read the results
};

/// Looks at options, model and images before anything is attacked. Throws UsageError for what cannot be evaluated: an
/// attack by gradient on a black box, colluders that no batch has, options that contradict each other.
EvaluationPlan plan_evaluation(const EvaluationInput& input, const EvaluationOptions& options);

/// Runs the protocol on the model and its peers at every radius, and the checks. Finished pieces of work are written to
/// `run` and taken from there when `resume` goes on with them; adversarial images that were asked for are written there
/// too. The results are not: see write_run(). Throws Error for logits that are not finite, and UsageError for another
/// setting than the run was begun with.
RunResultsInput evaluate(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan,
                         const RunDirectory& run, bool resume, Monitor& monitor = silent());

}  // namespace hpm
