// defines: AutoAttackOptions, sequence_of(), AttackOutcome, AutoAttackResult, autoattack(), run_sequence(),
// verify_rows(), write_cost(), add_cost()
#pragma once
#include <functional>

#include "hpm/attacks/image_store.h"
#include "hpm/attacks/sequence.h"
#include "hpm/io/journal.h"

namespace hpm {

/// AutoAttack (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
/// parameter-free attacks", ICML 2020, arXiv:2003.01690; L1: "Mind the box", ICML 2021, arXiv:2103.01208).
struct AutoAttackOptions {
  std::string version = "standard";       ///< standard, plus, rand (random models, 20 gradients a step) or custom
  std::vector<std::string> attacks = {};  ///< of version custom, e.g. {"apgd-ce", "square"}
  uint64_t seed = 0;                      ///< of all random numbers
  int64_t batch_size = 250;  ///< images per pass; changes verdicts in conformance and of random models alone
  bool conformance = false;  ///< the official code's random draws, batches and operations: its flags, image by image
  AttackSettings settings = {};  ///< replace every attack's own
  /// Called after each chunk of an attack: the rows [M] that it attacked, and which of them it broke, [M] bool (CPU).
  std::function<void(const AttackSpec& attack, const Tensor& rows, const Tensor& broken)> on_chunk = {};
};

void fields(Fields& f, AutoAttackOptions& o);  ///< attacks, conformance

/// The attacks that these options ask for.
AttackSequence sequence_of(const AutoAttackOptions& options, Norm norm, int64_t classes);

/// What one attack of the sequence did.
struct AttackOutcome {
  AttackSpec spec;
  Tensor robust;  ///< [N] bool (CPU): right on the original and unbroken after this attack
  Passes passes;  ///< image passes of the model during this attack, its verdicts included
  double seconds = 0;
};

struct AutoAttackResult {
  Tensor clean_correct;     ///< [N] bool (CPU)
  Tensor clean_prediction;  ///< [N] int64 (CPU)
  Tensor worst_draw;  ///< [N] bool (CPU): right in all of ten draws, on the original and on all that attacks returned;
                      ///< of models that are not random: as robust()
  std::vector<AttackOutcome> attacks;  ///< every attack of the sequence, also those that had nothing left to do
  ImageStore adversarial;              ///< the adversarial image where broken, else the original; all() is [N,C,H,W]
  Passes clean_passes;
  int64_t borderline = 0;          ///< images with a verdict so near a tie that it was judged again alone
  double norm_excess = 0;          ///< the largest (norm of a perturbation) / eps - 1, or 0
  std::vector<std::string> notes;  ///< where the settings are not the version's, and why
  bool changed = false;            ///< the user gave settings in place of the version's

  const Tensor& robust() const { return attacks.empty() ? clean_correct : attacks.back().robust; }
  double clean_accuracy() const;   ///< percent
  double robust_accuracy() const;  ///< percent
};

/// Attack after attack on the images not broken yet, in the order given, always from the original images. A verdict is
/// a fresh pass over the images an attack returns. In the default mode verdicts depend on neither batch size nor order:
/// a verdict whose margin is under 1e-4 of the logits' range is judged again alone, repeated to 16 rows, on one thread.
/// Each chunk of an attack is written to `log` when it is done, and taken from there when it was done before.
/// Throws UsageError for images outside [0,1] and for settings that cannot be.
///
/// Example:
///     ClassifierModel model(classifier);
///     const auto result = autoattack(model, {x, y, index}, {Norm::linf, 8. / 255}, {.batch_size = 500});
AutoAttackResult autoattack(AttackModel& model, const ImageSet& images, const ThreatModel& threat,
                            const AutoAttackOptions& options, Monitor& monitor = silent(), const WorkLog& log = {});

/// The same for any sequence of attacks; of `options`, seed, batch_size and conformance count.
AutoAttackResult run_sequence(AttackModel& model, const ImageSet& images, const ThreatModel& threat,
                              const AttackSequence& sequence, const AutoAttackOptions& options,
                              Monitor& monitor = silent(), const WorkLog& log = {});

/// Verdicts of independent rows from a fresh pass. A margin under 1e-4 of the logits' range is nearly a tie: that row
/// is judged again alone, repeated to 16 rows, on one thread, so that its verdict depends on no batch.
struct FreshVerdict {
  Tensor wrong, close;  ///< [M] bool (CPU): the prediction is not the label; it was nearly a tie
  Tensor logits;        ///< [M,K], of the pass that the verdict comes from
};
/// `logits(images)` [M,K] are those of the model judged. Where these are made from others (votes of several draws),
/// `parts` holds those, [M,K] each, of the last call: a row is a near tie too where one of them is. May be null.
FreshVerdict verify_rows(const Images& images, const std::function<Tensor(const Images&)>& logits,
                         const std::vector<Tensor>* parts = nullptr);

/// The cost of a piece of work, written beside what it found (WorkLog), and added up again.
void write_cost(const Passes& passes, double seconds, NamedTensors& done);
void add_cost(const NamedTensors& done, Passes& passes, double& seconds);

}  // namespace hpm
