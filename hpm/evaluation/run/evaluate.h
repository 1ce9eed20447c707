// defines: StandIns, EvaluationInput, EvaluationPlan, plan_evaluation(), EvaluationOutcome, evaluate(), write_results()
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hpm/data/dataset.h"
#include "hpm/evaluation/results/results.h"
#include "hpm/evaluation/run/options.h"
#include "hpm/evaluation/run/shared_run.h"

namespace hpm {

/// What attacks a defence beside what it has itself.
struct StandIns {
  std::vector<Surrogate> surrogates = {};  ///< the user's own, then those that transfer from peers
  std::vector<std::string> always = {};    ///< names of the user's own: they attack also where others are named
};

/// Makes a defence for the images to be evaluated. Its Defence::surrogates() has to know the stand-ins
/// (FunctionDefenceOptions takes them): an evaluation refuses a defence that left one out.
using DefenceMaker = std::function<std::unique_ptr<Defence>(const ImageSet& images, const StandIns& stand_ins)>;
/// Makes the same defence in other batches, each attacked whole: of so many images, in the order of `images`.
using ComposedDefenceMaker =
    std::function<std::unique_ptr<Defence>(const ImageSet& images, const StandIns& stand_ins, int64_t batch_size)>;

/// What is evaluated.
struct EvaluationInput {
  HpmModel model;
  Dataset data;
  Tensor index;                                   ///< [n] int64: the numbers of the images
  Peers peers = {};                               ///< the model before the defence, and the matched control
  std::vector<Surrogate> surrogates = {};         ///< of the user's own, for any defence
  std::vector<HpmSurrogate> hpm_surrogates = {};  ///< further rows of HPM's table, for a model with an HPM head
  std::vector<std::string> notes = {};            ///< what a reader of the results must know about these
  DefenceMaker defence = {};  ///< judged in place of `model`, which then gives name, classes and input shape alone
  std::string defence_identity = {};  ///< what tells it from another one: a run is resumed with the same alone
  /// Of a `defence` that depends on its batch, for EvaluationOptions::company_sizes; none: no other batches are
  /// attacked.
  ComposedDefenceMaker composed = {};
};

/// What an evaluation will do.
struct EvaluationPlan {
  Passes passes;                        ///< an image that survives everything, at most; with peers and checks
  std::optional<Passes> usual = {};     ///< of the protocol fast: where no alarm fires, and targets are given up early
  int64_t radii = 1;                    ///< how many radii are attacked: each costs `passes`
  bool differentiable = true;           ///< the model has a gradient; otherwise only stand-ins and queries attack it
  std::vector<std::string> notes = {};  ///< what is probably a mistake, or must be known to read the results
  std::vector<UnusedOption> unused = {};  ///< options without effect; those that were given deserve a warning
};

/// Looks at options, model and images before anything is attacked, and asks each of the user's surrogates once for a
/// gradient. Throws UsageError for what cannot be evaluated: no images, an attack by gradient on a black box, colluders
/// that no batch has, options that contradict each other. Throws Error for a surrogate that cannot be attacked.
EvaluationPlan plan_evaluation(const EvaluationInput& input, const EvaluationOptions& options);

/// What an evaluation came to.
struct EvaluationOutcome {
  Evaluation evaluation;
  std::optional<PeerResult> base = {}, control = {};
  std::vector<RadiusOutcome> curve = {};
};

/// Runs the protocol on the model and its peers at every radius, and the checks. Finished pieces of work are written to
/// the run directory; adversarial images that were asked for are written there too (the results are not:
/// write_results()). Of a crew each process returns the same outcome. Throws Error for logits that are not finite, and
/// UsageError for other settings than the run was begun with.
EvaluationOutcome evaluate(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan,
                           const RunPlace& place, Monitor& monitor = silent());

/// results.json, verdicts.safetensors and gallery.safetensors of an outcome, in `run`; gives the text of results.json.
/// `config`: the options as JSON.
std::string write_results(const EvaluationInput& input, const EvaluationOptions& options,
                          const EvaluationOutcome& outcome, const RunDirectory& run, const std::string& config);

}  // namespace hpm
