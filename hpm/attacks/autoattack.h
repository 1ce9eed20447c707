// defines: AutoAttackOptions, AttackOutcome, AutoAttackResult, ChunkOutcome, autoattack()
#pragma once
#include <functional>

#include "hpm/attacks/sequence.h"

namespace hpm {

class Fields;

/// AutoAttack (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
/// parameter-free attacks", ICML 2020, arXiv:2003.01690; L1: "Mind the box", ICML 2021, arXiv:2103.01208).
struct AutoAttackOptions {
  std::string version = "standard";       ///< standard, plus, rand (random models, 20 gradients a step) or custom
  std::vector<std::string> attacks = {};  ///< of version custom, e.g. {"apgd-ce", "square"}
  uint64_t seed = 0;                      ///< of all random numbers
  int64_t batch_size = 250;               ///< images per pass; changes verdicts only in conformance
  bool conformance = false;  ///< the official code's random draws, batches and operations: its flags, image by image
  std::optional<int64_t> steps = {};  ///< replace every attack's own settings
  std::optional<int64_t> restarts = {};
  std::optional<int64_t> targets = {};
  std::optional<int64_t> queries = {};
};
void fields(Fields& f, AutoAttackOptions& o);

/// What one attack of the sequence did.
struct AttackOutcome {
  AttackSpec spec;
  Tensor robust;  ///< [N] bool (CPU): right on the original and unbroken after this attack
  Passes passes;  ///< image passes of the model during this attack, its verdicts included
  double seconds = 0;
};

struct AutoAttackResult {
  Tensor clean_correct;                ///< [N] bool (CPU)
  std::vector<AttackOutcome> attacks;  ///< every attack of the sequence, also those that had nothing left to do
  Tensor adversarial;  ///< [N,C,H,W] (device of the images): the adversarial image where broken, else the original
  Passes clean_passes;
  int64_t borderline = 0;          ///< images with a verdict so near a tie that it was judged again alone
  double norm_excess = 0;          ///< the largest (norm of a perturbation) / eps - 1, or 0
  std::vector<std::string> notes;  ///< where the settings had to be changed for this model

  const Tensor& robust() const { return attacks.empty() ? clean_correct : attacks.back().robust; }
  double clean_accuracy() const;   ///< percent
  double robust_accuracy() const;  ///< percent
};

/// A chunk that an attack has finished.
struct ChunkOutcome {
  size_t attack;     ///< position in the sequence
  std::string name;  ///< of the attack
  Tensor rows;       ///< [M] int64 (CPU): positions in the images given
  Tensor broken;     ///< [M] bool (CPU): the verdicts
  Tensor images;     ///< [M,C,H,W]: adversarial where broken, else the originals
};
using ChunkCallback = std::function<void(const ChunkOutcome&)>;

/// Attack after attack on the images not broken yet, in the order given, always from the original images. A verdict is
/// a fresh pass over the images an attack returns. In the default mode verdicts depend on neither batch size nor order:
/// a verdict whose margin is under 1e-4 of the logits' range is judged again alone, repeated to 16 rows, on one thread.
/// Throws UsageError for images outside [0,1] and for settings that cannot be.
///
/// Example:
///     ClassifierModel model(classifier);
///     const auto result = autoattack(model, {x, y, index}, {Norm::linf, 8. / 255}, {.batch_size = 500});
AutoAttackResult autoattack(AttackModel& model, const Images& images, const ThreatModel& threat,
                            const AutoAttackOptions& options, Monitor& monitor = silent(),
                            const ChunkCallback& after_chunk = {});

}  // namespace hpm
