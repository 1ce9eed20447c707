// defines: Subject, subject_of(), Examined, run_protocol(), run_curve(), check_contexts(), run_compositions(),
// composition_passes(), self_test(), self_test_passes()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/evaluation/msa/msa.h"
#include "hpm/evaluation/run/evaluate.h"

namespace hpm {

/// A model under evaluation: the one asked about, or a peer of it.
struct Subject {
  HpmModel model;
  DefenceOptions defence;  ///< as which defence it is seen, in all contexts asked for
  std::string part;        ///< its prefix in the log: "model", "base" or "control"
  bool differentiable = true;
  DefenceMaker maker = {};                   ///< of a defence in place of the model
  ComposedDefenceMaker composed_maker = {};  ///< the same in other batches

  std::unique_ptr<Defence> make(const ImageSet& images, const std::vector<std::string>& contexts,
                                const WorkLog& log) const;
  StandIns stand_ins() const;  ///< what a maker is given
};

/// The model asked about, with everything that attacks it.
Subject subject_of(const EvaluationInput& input, const EvaluationOptions& options, bool differentiable);

/// A subject as it is evaluated at the first radius.
struct Examined {
  const Subject& subject;
  Defence& defence;
  const AttackedImages& on;
  const EvaluationOptions& options;
  const Work& work;
};

/// The protocol of `options` at one radius; at radius 0 the clean verdicts.
Evaluation run_protocol(Defence& defence, const AttackedImages& on, const EvaluationOptions& options, const Work& work);

/// Accuracy against eps in the first context, by increasing radius; `headline` is the evaluation at the first one. An
/// image that is broken within a radius is broken within every larger one: it is not attacked again, and
/// where the headline's own attacks missed it, it counts as broken there too. (Not so where images are each other's
/// company: in solo all are attacked again, in joint every radius has its own worst batches.)
std::vector<RadiusOutcome> run_curve(const Examined& examined, std::vector<ThreatModel> radii, Evaluation& headline);

/// The checks of every context of an evaluation, appended to it. `saved`: the first context's adversarial images as
/// read back from disk.
void check_contexts(const Examined& examined, const std::optional<ImageSet>& saved, Evaluation& evaluation);

/// Accuracy of a batch-dependent defence in the context joint, in batches of every size of
/// EvaluationOptions::composition_sizes(), as the images come and sorted by class, under its leading surrogate (of a
/// black box, the first one that can attack).
std::vector<CompositionOutcome> run_compositions(const Subject& subject, const AttackedImages& on,
                                                 const EvaluationOptions& options, const Work& work);
/// Image passes of that for an image of `n`, at most; `sample`: some of them.
Passes composition_passes(const Subject& subject, const ImageSet& sample, Norm norm, const EvaluationOptions& options,
                          int64_t n);

/// --self-test: the first context, by the first attack of the protocol on each white-box surrogate; its outcome and
/// its check become the evaluation's.
void self_test(const Examined& examined, Evaluation& evaluation);
/// Image passes of that for `n` images together, at most.
Passes self_test_passes(const Defence& defence, Norm norm, const EvaluationOptions& options, int64_t n);

}  // namespace hpm
