// defines: CheckView, judged(), showing()
#pragma once
#include <fmt/format.h>

#include <cmath>

#include "hpm/attacks/finite_answers.h"
#include "hpm/evaluation/checks/checks.h"

namespace hpm {

/// What every check of one context looks at.
class CheckView {
 public:
  CheckView(const CheckSubject& subject, const AttackedImages& on, const Evaluation& evaluation,
            const CheckOptions& options, const Work& work)
      : subject(subject),
        images(on.images),
        threat(on.threat),
        evaluation(evaluation),
        options(options),
        monitor(work.monitor),
        log(work.log),
        streams(options.seed ^ 0xc4ec75ull),
        coupled(subject.attacked.coupling() == Coupling::batch),
        surrogates{{subject.name, &subject.attacked, false}},
        sample(images.slice(0, std::min(options.sample, images.size()))) {
    surrogates.insert(surrogates.end(), subject.others.begin(), subject.others.end());
  }

  const ContextOutcome& outcome() const { return evaluation.contexts.at(subject.context); }
  bool first() const { return subject.context == 0; }  ///< the context that is headlined
  bool has_gradients() const { return options.gradients && options.differentiable; }
  /// Coordinates of an image.
  double dims() const { return static_cast<double>(c10::multiply_integers(images.shape())); }
  /// `count` of the images, in points of accuracy.
  double points(int64_t count) const { return 100. * static_cast<double>(count) / static_cast<double>(images.size()); }

  /// The line of a check that was not run, and why.
  static CheckOutcome not_run(const std::string& name, const std::string& why) {
    return {name, CheckOutcome::Status::not_run, {}, {}, "", why};
  }
  CheckOutcome without_gradients(const std::string& name) const {
    return not_run(name, options.differentiable ? "the attacks asked for no gradient" : "the model has no gradient");
  }

  const CheckSubject& subject;
  const ImageSet& images;
  const ThreatModel& threat;
  const Evaluation& evaluation;
  const CheckOptions& options;
  Monitor& monitor;
  const WorkLog& log;
  RandomStreams streams;
  bool coupled;                              ///< batches are attacked whole
  std::vector<CheckedSurrogate> surrogates;  ///< the leading one first
  Images sample;                             ///< the first images
};

/// The line of a check that fails where `value` is above `limit`.
inline CheckOutcome judged(const std::string& name, double value, double limit, const std::string& unit,
                           const std::string& detail) {
  using Status = CheckOutcome::Status;
  return {name, value > limit ? Status::failed : Status::passed, value, limit, unit, detail};
}

/// The same line with the kind of masking that its failure would show.
inline CheckOutcome showing(Cause cause, CheckOutcome check) {
  check.cause = cause;
  return check;
}

}  // namespace hpm
