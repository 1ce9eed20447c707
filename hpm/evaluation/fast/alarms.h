// defines: AlarmOptions, zero_gradient_alarm(), still_loss_alarm(), fidelity_alarm(), random_alarm(), coupled_alarm(),
//          probabilities_alarm(), steps_alarm(), nearer_alarm(), stand_in_alarm(), beyond_alarm(), in_random_order(),
//          core_passes(), sample_size(), sampled_passes(), queried(), autoattack_spec(), LookedAt, look_at_gradients()
#pragma once
#include "hpm/evaluation/evaluation.h"
#include "hpm/io/journal.h"

namespace hpm {

class Fields;

/// What a fast evaluation looks at beside its core, and what follows an alarm.
struct AlarmOptions {
  /// Survivors that FAB-T and Square attack in full; none given: as many as cost a quarter of the core, at most 60, and
  /// none where that is fewer than 12 (in the Mixed Surrogate Attack a twentieth, 12 to 60).
  std::optional<int64_t> sample = {};
  bool no_escalate = false;  ///< nothing follows an alarm: the result is suspect instead
  bool operator==(const AlarmOptions&) const = default;
};
void fields(Fields& f, AlarmOptions& o);

// Each alarm is one sign that attacks by gradient may not tell the truth: its value, the limit above which it fires,
// and what was seen. docs/fast.md explains them. `images` are a sample of correctly classified images.

/// Gradients that are exactly zero at a random start, in the cross-entropy or the difference of logits ratio.
AlarmResult zero_gradient_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                                const RandomStreams& streams);

/// A step of eps / 4 up the gradient of z_t - z_y, from a random start, that does not raise it.
AlarmResult still_loss_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                             const RandomStreams& streams);

/// A small step along the gradient of z_t - z_y that changes it otherwise than the gradient says (gradient_fidelity).
AlarmResult fidelity_alarm(AttackModel& model, const Images& images);

/// Logits that differ when the same query is asked again.
AlarmResult random_alarm(AttackModel& model, const Images& images);

/// Logits that differ when half of the rows are asked alone.
AlarmResult coupled_alarm(AttackModel& model, const Images& images);

/// clean logits [n,K] that look like probabilities.
AlarmResult probabilities_alarm(const Tensor& clean_logits);

/// PGD with 10 steps that leaves many more of `images` than PGD with 50.
AlarmResult steps_alarm(int64_t left_by_10, int64_t left_by_50, int64_t images);

/// A few queries of Square that come nearer to breaking an image than the core did. Where gradients lead, hundreds of
/// steps along them come nearer than as many random windows; this shows on every survivor, long before one breaks.
/// core, queried [M]: the smallest margins that each saw.
AlarmResult nearer_alarm(const Tensor& core, const Tensor& queried, int64_t queries);

/// The gradients are those of a stand-in for the prediction; `surrogate`: its name, or empty.
AlarmResult stand_in_alarm(const std::string& surrogate);

/// An attack of another kind that breaks survivors of the core. `missing`: why it was not run, or empty.
AlarmResult beyond_alarm(const std::string& name, const StageResult* stage, const std::string& missing);

/// `rows` [m] (places) in an order drawn at random, which depends on the seed and the images' numbers `index` alone.
Tensor in_random_order(const Tensor& rows, const Tensor& index, uint64_t seed);

/// What the core mostly takes for so many images. What it did take depends a little on how rows were packed, and no
/// verdict may.
int64_t core_passes(int64_t images);
/// How many survivors FAB-T and Square attack in full: `given` (AlarmOptions::sample); else as many as a quarter of the
/// core_passes() of the images `attacked` pays for, at most 60, and none where that is fewer than 12, which would prove
/// little. `passes_of_one`: sampled_passes().
int64_t sample_size(const std::optional<int64_t>& given, int64_t attacked, int64_t passes_of_one);
/// Forward passes of FAB-T and Square for one image.
int64_t sampled_passes(Norm norm, int64_t classes);

/// How many of so many survivors a few queries of Square, and what was made for another model, are tried on: a tenth,
/// at least 12 and at most 60.
int64_t queried(int64_t survivors);

/// The same share in the Mixed Surrogate Attack: how many of so many survivors FAB-T and Square attack in full.
int64_t twentieth(int64_t survivors);

/// An attack of AutoAttack with its settings for this norm.
AttackSpec autoattack_spec(const std::string& name, Norm norm, int64_t classes);

/// What alarms look at.
struct LookedAt {
  AttackModel& model;
  const ImageSet& images;
  ThreatModel threat;
  uint64_t seed = 0;
  int64_t batch_size = 256;
};

/// The alarms that need gradients or repeated predictions. `correct` [m]: places of the correctly classified images, in
/// random order; `clean_logits` [n,K].
std::vector<AlarmResult> look_at_gradients(const LookedAt& at, const Tensor& correct, const Tensor& clean_logits,
                                           Monitor& monitor, const WorkLog& log);
/// Image passes of look_at_gradients() on n images, at most.
Passes gradient_alarm_passes(int64_t n);

}  // namespace hpm
