// defines: CheckSubject, CheckOptions, run_checks()
#pragma once
#include <functional>

#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"
#include "hpm/evaluation/evaluation.h"

namespace hpm {

/// What the checks look at beside the evaluation itself.
struct CheckSubject {
  AttackModel& attacked;         ///< what gradient attacks see: the model, or its ste surrogate in a context
  bool batch_dependent = false;  ///< joint: consistency is reported, not judged
  /// Target logits of images, as a fresh evaluation would compute them. [N,C,H,W], index [N] -> [N,K].
  std::function<Tensor(const Tensor& x, const Tensor& index)> predict;
  std::vector<AttackModel*> others = {};  ///< further surrogates, which attack what the first one leaves
  size_t context = 0;                     ///< which of the evaluation's contexts
};

struct CheckOptions {
  std::string level = "basic";  ///< none, basic or full
  uint64_t seed = 0;
  int64_t batch_size = 256;
  int64_t sample = 64;       ///< images of the checks that attack or repeat predictions
  bool conformance = false;  ///< ball and box are reported, not judged: the official L1 projection overshoots
  bool gradients = true;     ///< false for a black box: the checks of gradients are not run
};

/// The checks of an honest evaluation (Athalye et al. 2018, arXiv:1802.00420; Carlini et al. 2019, arXiv:1902.06705;
/// Tramer et al. 2020, arXiv:2002.08347; Croce et al. 2022, arXiv:2202.13711). basic: unbounded attack, zero gradients,
/// finite values, ball and box, determinism, consistency, reload, transfer, on a sample of the images but for ball and
/// box and reload; full: also convergence with 200 iterations and Square after white-box, on all survivors of
/// independent rows. basic: at most 50 x sample passes with gradient for each model behind it, and some 20 x sample
/// more. Each is a line, whatever its outcome; ball and box, and reload, are of the first context, whose
/// images are kept. `saved`: the adversarial images as read back from disk, or none.
std::vector<CheckOutcome> run_checks(CheckSubject subject, const ImageSet& images, const ThreatModel& threat,
                                     const Evaluation& evaluation, const std::optional<ImageSet>& saved,
                                     const CheckOptions& options, Monitor& monitor = silent());

}  // namespace hpm
