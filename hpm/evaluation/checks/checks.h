// defines: CheckSubject, CheckOptions, run_checks(), check_passes()
#pragma once
#include <functional>

#include "hpm/evaluation/protocols.h"

namespace hpm {

class Fields;

/// A surrogate that the checks look at.
struct CheckedSurrogate {
  std::string name;
  AttackModel* model = nullptr;
  bool stand_in = false;  ///< it takes the place of the model's own gradient
};

/// What the checks look at beside the evaluation itself.
struct CheckSubject {
  AttackModel& attacked;         ///< what gradient attacks see: the model, or a surrogate of it that attacked a context
  bool batch_dependent = false;  ///< joint: consistency is reported, not judged
  /// Target logits of images, as a fresh evaluation would compute them. [N,C,H,W], index [N] -> [N,K].
  std::function<Tensor(const Tensor& x, const Tensor& index)> predict;
  /// Further surrogates that attacked it: they attack what the first one leaves.
  std::vector<CheckedSurrogate> others = {};
  size_t context = 0;                  ///< which of the evaluation's contexts
  std::vector<Tensor> batches = {};    ///< joint: the places of the images of each fixed batch
  std::string name = "the model";      ///< of `attacked`
  bool votes = false;                  ///< its logits count votes: a near tie in one draw moves them by a whole one
  bool exact = true;                   ///< its gradient claims to be that of `predict`; false for a stand-in
  /// A surrogate that is not the model's own gradient broke images that this one had left.
  bool stand_ins_help = false;
  std::optional<ImageSet> saved = {};  ///< the adversarial images as read back from disk
};

struct CheckOptions {
  std::string level = "basic";  ///< none, basic or full
  uint64_t seed = 0;
  int64_t batch_size = 256;
  int64_t sample = 64;         ///< images of the checks that attack or repeat predictions
  bool conformance = false;    ///< ball and box are reported, not judged: the official L1 projection overshoots
  bool gradients = true;       ///< false where the attacks asked for none: the checks of gradients are not run
  bool differentiable = true;  ///< false for a black box: neither are they there
};
void fields(Fields& f, CheckOptions& o);  ///< the level, as "checks"

/// The checks of an honest evaluation (Athalye et al. 2018, arXiv:1802.00420; Carlini et al. 2019, arXiv:1902.06705;
/// Tramer et al. 2020, arXiv:2002.08347; Croce et al. 2022, arXiv:2202.13711). basic: unbounded attack, zero gradients,
/// gradient fidelity, finite values, ball and box, determinism, consistency, reload, transfer, Square on a few
/// survivors; on a sample of the images, but ball and box and reload on all. full: also convergence with 200 iterations
/// and Square after white-box, on all survivors, which are pieces of work. Each is a line, whatever its outcome; reload
/// is of the first context, whose images are saved.
std::vector<CheckOutcome> run_checks(const CheckSubject& subject, const AttackedImages& on,
                                     const Evaluation& evaluation, const CheckOptions& options, const Work& work = {});

/// Image passes of the checks of one context of `n` images, at most, with so many surrogates (others included).
Passes check_passes(const CheckOptions& options, int64_t n, int64_t surrogates);

}  // namespace hpm
