// defines: clean_fc_logits(), NotFiniteLogits, not_finite(), are_probabilities(), logits_warnings(),
//          look_before_attacks(), look_at_verdicts(), threat_warnings()
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hpm/attacks/image_store.h"
#include "hpm/core/norms.h"
#include "hpm/evaluation/evaluation.h"
#include "hpm/io/journal.h"
#include "hpm/prototypes/model.h"

namespace hpm {

/// FC logits [n,K] of the images as they are, from one pass in chunks, which is kept in the log (of a model with a head
/// it is the pass that its contexts and msa need anyway).
Tensor clean_fc_logits(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log = {});

/// Logits that are NaN or infinite.
struct NotFiniteLogits {
  int64_t values = 0, images = 0;  ///< how many, on how many images
  int64_t image = 0, label = 0;    ///< the first: image number and class
  std::string text() const;        ///< "the logit of image 7, class 3, is not finite (10 logits of 10 images are not)"
};
/// logits [n,K], index [n]: the images' numbers.
std::optional<NotFiniteLogits> not_finite(const Tensor& logits, const Tensor& index);

/// Rows [n,K] that are non-negative and sum to 1, but are not labels (0 and 1 alone).
bool are_probabilities(const Tensor& logits);

/// What clean logits [n,K] and labels [n] tell of a probable mistake, a line each: probabilities in place of logits; a
/// float32 spacing that is coarse beside the differences between classes; an accuracy that is hardly better than
/// guessing.
std::vector<std::string> logits_warnings(const Tensor& logits, const Tensor& labels);

/// Looks at the FC logits before anything attacks: Error where one is not finite, for nothing that is found would mean
/// anything; else logits_warnings().
std::vector<std::string> look_before_attacks(const HpmModel& model, const ImageSet& images, int64_t batch_size,
                                             const WorkLog& log = {});
/// The same of the logits [n,K] of any prediction; `whose`: as a message names it.
std::vector<std::string> look_before_attacks(const Tensor& logits, const ImageSet& images, const std::string& whose);
/// The same of an evaluation without attacks, by the logits of its verdicts. What is not finite there is a failed
/// check.
std::vector<std::string> look_at_verdicts(const HpmModel& model, const ImageSet& images, int64_t batch_size,
                                          const WorkLog& log, Evaluation& evaluation);

/// What is probably a mistake in the radii, a line each.
std::vector<std::string> threat_warnings(const std::vector<ThreatModel>& radii);

}  // namespace hpm
