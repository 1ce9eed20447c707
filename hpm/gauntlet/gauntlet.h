// defines: GauntletSetting, GauntletEntry, GauntletRow, GauntletOptions, gauntlet_table(), chosen_entries(),
// require_possible(), run_gauntlet(), through()
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hpm/core/progress.h"
#include "hpm/defences/function_defence.h"
#include "hpm/evaluation/evaluation.h"

namespace hpm {

/// What the defences of the gauntlet are built around.
struct GauntletSetting {
  Classifier base;     ///< an adversarially trained network
  ImageSet images;     ///< [n]
  Images training;     ///< some training images with labels, for what a defence must learn
  ThreatModel threat;  ///< Linf
  uint64_t seed = 0;
};

/// A defence of the gauntlet, with what someone knows who has read its paper.
struct GauntletEntry {
  std::string name;
  std::string mechanism;  ///< why it seems robust, one line
  std::string source;     ///< the paper that it is from, and the one that broke it
  bool honest = false;    ///< it masks nothing: no check may flag it
  /// What a flag must name: the kinds of masking that this is.
  std::vector<Cause> causes = {};
  /// The prediction.
  std::function<PredictionFunction(const GauntletSetting&)> prediction = nullptr;
  /// Differentiable twins, x -> logits, of someone who knows the mechanism: they become the surrogate `bpda` of the
  /// Mixed Surrogate Attack (the first), and the adaptive attack goes through all of them.
  std::function<std::vector<PredictionFunction>(const GauntletSetting&)> twins = nullptr;
  std::string context = "solo";        ///< of a batch-dependent one, where it is judged: alone, solo or joint
  int64_t queries = 1000;              ///< of the surrogates query and decision, at most
  std::vector<std::string> more = {};  ///< surrogates that attack it beside those that attack every entry
  /// Or: the whole defence, where it is more than a function.
  std::function<std::unique_ptr<Defence>(const GauntletSetting&)> defence = nullptr;
};

/// The defences, broken ones first. A new one is a function in a file pair of its own, and a line here.
const std::vector<GauntletEntry>& gauntlet_table();

struct GauntletOptions {
  std::vector<std::string> only = {};  ///< names of the table; none: all
  int64_t batch_size = 256;
  int64_t restarts = 3;    ///< of the adaptive attack, towards and away, each
  int64_t steps = 100;     ///< of every gradient attack but the careless one
  int64_t queries = 5000;  ///< of Square
  /// Every surrogate attacks every image, so that it is known what each of them contributes (GauntletRow::parts);
  /// otherwise it attacks what those before it left.
  bool mutations = false;
  /// The surrogates, checks and alarms that are left of the evaluation, by name; not given: all of them.
  std::optional<std::vector<std::string>> guards = {};
  bool keeps(const std::string& guard) const;
};

/// What came of a defence. Accuracies in percent, flags [n] bool: right on the image and unbroken.
struct GauntletRow {
  const GauntletEntry* entry = nullptr;
  std::string context = {};            ///< of a batch-dependent defence, the one shown
  Tensor clean, careless, autoattack;  ///< flags
  Tensor msa;                          ///< by every surrogate together
  std::string own = {};                ///< the surrogate that is the defence's own gradient, or leads in its place
  Tensor own_alone;                    ///< by that surrogate alone
  /// With GauntletOptions::mutations. What stands, [n], where one surrogate is left out, and where it and the defence's
  /// own gradient are all that attacks.
  struct Part {
    std::string surrogate;
    Tensor without, with_own;
  };
  std::vector<Part> parts = {};
  /// By the adaptive attack; where rows are independent and nothing is random, what a careless evaluation,
  /// AutoAttack and MSA broke counts too.
  Tensor truth;
  Tensor naive;  ///< by MSA with its defaults, of an evaluation that takes the defence for an ordinary network
  std::vector<CheckOutcome> flagged = {};    ///< failed checks of that evaluation, the self-test among them
  std::vector<std::string> alarms = {};      ///< those that fired in it
  std::optional<SelfTestOutcome> self_test;  ///< of the same evaluation; none for a batch that is one object
  bool narrowed = false;                     ///< GauntletOptions::guards left a part of the evaluation
  double seconds = 0;

  /// MSA is at most one point above the truth.
  bool msa_tells_the_truth() const;
  /// A check failed, and named one of the causes that this is.
  bool flagged_rightly() const;
  /// What the gauntlet asks: a broken defence is told or flagged; an honest one is told, no check flags it, and no
  /// alarm fires. In an evaluation that is narrowed to a few guards an alarm counts as a flag, and surrogates have done
  /// their work where half of what the own gradient flatters by is gone.
  bool passed() const;
};

/// The defences that these options ask for, in the order of the table or of `only`. Throws UsageError for an unknown
/// name.
std::vector<const GauntletEntry*> chosen_entries(const GauntletOptions& options);

/// Throws UsageError for what run_gauntlet() refuses: unknown names, no images, a radius of 0, a base without features.
void require_possible(const GauntletSetting& setting, const GauntletOptions& options);

/// Runs the gauntlet. Throws UsageError for an unknown name.
std::vector<GauntletRow> run_gauntlet(const GauntletSetting& setting, const GauntletOptions& options,
                                      Monitor& monitor = silent());

/// A function of images as a prediction with K classes.
PredictionFunction plain_prediction(const Classifier& classifier);
PredictionFunction plain_prediction(int64_t classes, std::function<Tensor(const Tensor&)> logits);

/// The value of `value` with the gradient of `twin`, for logits or images of one shape.
Tensor through(const Tensor& value, const Tensor& twin);

}  // namespace hpm
