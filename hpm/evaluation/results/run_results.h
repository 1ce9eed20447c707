// defines: RunResults and its parts, check_severity(), results_text(), read_results(), results_schema()
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hpm/evaluation/results/statistics.h"

namespace hpm {

// What results.json holds (docs/results-format.md, docs/results.schema.json), as plain values. Percentages are 0 to
// 100, intervals are at 95 %; an absent or null field is an empty optional, text or list.

using Flags = std::vector<int>;  ///< one 0/1 an image

struct NormalisationResult {
  std::vector<double> mean, std;  ///< of the input, by channel; empty: identity
  bool operator==(const NormalisationResult&) const = default;
};

struct ModelResult {
  std::string name;  ///< the kind of the head
  std::string file, sha256, architecture;
  int64_t classes = 0, parameters = 0;
  std::string head;  ///< "fc", "l2" or "hpm"
  NormalisationResult normalisation;
  std::optional<int64_t> feature_size;
  std::optional<double> lambda, tau, ema;
  std::string metric;  ///< "learned (R = 9)"
  bool operator==(const ModelResult&) const = default;
};

/// The paired comparison with another model on the same images.
struct PairedModel {
  std::string name, file;
  std::optional<double> clean_accuracy, robust_accuracy;  ///< of the other model
  Flags robust;                                           ///< of the other model
  std::optional<double> difference;                       ///< this model minus the other, points
  int64_t wins = 0, losses = 0;                           ///< images that only this model, only the other one keeps
  std::optional<double> p;                                ///< McNemar, exact
  std::optional<ConfidenceInterval> difference_interval;
  std::optional<double> smallest_detectable;  ///< points, at 80 % power
  bool operator==(const PairedModel&) const = default;
};

struct SurrogateResult {
  std::string name, kind, summary;
  std::string same_as, unavailable;       ///< at most one of them; `unavailable`: the reason
  std::string needs;                      ///< the option that would have made it run, where there is one
  bool complete = false;                  ///< it was given every correctly classified image
  std::optional<double> robust_accuracy;  ///< under it alone, where complete
  int64_t broke = 0, of = 0, first = 0;   ///< it broke `broke` of `of` images; `first` of them nobody had before
  bool attacked() const { return same_as.empty() && unavailable.empty(); }
  bool operator==(const SurrogateResult&) const = default;
};

/// How many images an attack on a surrogate broke first.
struct BrokenBy {
  std::string by;  ///< all of it in words: "fc/apgd-t in solo"
  int64_t images = 0;
  std::string surrogate, attack, context;  ///< `context`: at which it was aimed
  bool elsewhere = false;                  ///< at another one than it broke the images in
  bool composed = false;                   ///< joint: as part of a batch of several attacks' finds
  std::optional<int64_t> colluders;        ///< the study of so many colluding neighbours found it
  std::optional<double> eps;               ///< the attacks on this smaller radius found it
  bool operator==(const BrokenBy&) const = default;
};

/// Of `victims` images of a joint batch, how many fell to an attacker among their neighbours.
struct CollusionResult {
  int64_t colluders = 0;
  bool victim_too = true;
  int64_t victims = 0, broke = 0;
  bool operator==(const CollusionResult&) const = default;
};

/// Of `images` untouched images of joint batches, how many stay right where others of their batch are malicious.
struct BenignResult {
  int64_t malicious = 0;
  int64_t images = 0;
  double clean_accuracy = 0, accuracy = 0;  ///< of the untouched images: without the attack, and under it
  bool operator==(const BenignResult&) const = default;
};

/// A batch-dependent defence in batches of another size or order.
struct CompositionResult {
  int64_t size = 0;
  std::string order;  ///< "given" or "class"
  double clean_accuracy = 0, robust_accuracy = 0;
  bool operator==(const CompositionResult&) const = default;
};

/// Whether the attack in use finds adversarial images that were planted.
struct SelfTestResult {
  std::string name, context, attack;
  std::string readout;             ///< "features" or "logits": what the planted two-class problem is made of
  int64_t images = 0, tested = 0;  ///< looked at; of these with a problem that no random point solves
  int64_t found = 0;               ///< by the attack
  std::optional<double> share;     ///< found of tested, percent; none where nothing could be tested
  bool operator==(const SelfTestResult&) const = default;
};

struct ContextResult {
  std::string context;  ///< "" for a model without contexts
  std::optional<double> clean_accuracy, robust_accuracy;
  std::optional<ConfidenceInterval> interval, clean_interval;
  Flags clean_correct, robust;
  std::string leading;                                      ///< the surrogate that leads
  std::optional<double> leading_accuracy, obfuscation_gap;  ///< under it alone; that minus robust_accuracy
  std::optional<double> joint_any;                          ///< joint: no attacked batch broke them
  std::optional<double> worst_draw;                         ///< right in each of ten draws, at every iterate
  std::vector<CollusionResult> collusion;
  std::vector<BenignResult> benign;
  std::vector<BrokenBy> broken_by;
  std::vector<SurrogateResult> surrogates;
  std::optional<PairedModel> control;
  bool operator==(const ContextResult&) const = default;
};

/// One attack of the sequence, whether or not anything was left for it.
struct AttackPass {
  std::string name, surrogate, context;
  std::optional<double> robust_accuracy;  ///< after this attack, of the sequence so far
  Flags robust;
  int64_t forward_passes = 0, backward_passes = 0;
  double seconds = 0;
  bool operator==(const AttackPass&) const = default;
};

/// A stage of the protocol fast: one attack on some of the images.
struct StageResult {
  std::string name, attack;
  int64_t images = 0, attacked = 0;  ///< it was given; it attacked before the time was up
  int64_t broke = 0;
  int64_t passes = 0, backward_passes = 0;  ///< images through the network, forward and backward
  double seconds = 0;
  bool operator==(const StageResult&) const = default;
};

/// A sign that attacks by gradient may not tell the truth.
struct AlarmResult {
  std::string name;
  std::optional<double> value, limit;  ///< no value: it was not looked at, `evidence` says why
  std::string unit;
  bool fired = false;  ///< value > limit
  std::string evidence;
  bool operator==(const AlarmResult&) const = default;
};

/// What may be missing because a random sample alone was attacked, at 95 %, exact binomial.
struct BoundResult {
  std::string stage;               ///< whose sample it is
  int64_t sampled = 0, broke = 0;  ///< attacked in that stage, and broken there
  int64_t of = 0;                  ///< images that the sample was drawn from
  double share = 0;                ///< percent of those that the stage would break if it attacked all, at most
  double robust_accuracy = 0;      ///< percent of all images, at least
  bool operator==(const BoundResult&) const = default;
};

struct CurvePoint {
  double eps = 0, robust_accuracy = 0, standard_error = 0;
  bool operator==(const CurvePoint&) const = default;
};

struct SweepPoint {
  std::string context;
  double lambda = 0, clean_accuracy = 0, robust_accuracy = 0;
  bool attacked = false;  ///< otherwise robust_accuracy is an upper bound
  bool operator==(const SweepPoint&) const = default;
};

struct CheckResult {
  std::string name, status;  ///< status: "passed", "failed", "reported", "not run"
  std::optional<double> value, limit;
  std::string unit, detail, context;
  std::string cause, surrogates;  ///< of a failure: the kind of masking, and what to attack such a model with
  bool operator==(const CheckResult&) const = default;
};

/// How much a check's status says against a result: failed 3, reported 2, passed 1, not run and anything else 0.
int check_severity(const std::string& status);

struct GalleryEntry {
  int64_t index = 0, label = 0, clean_prediction = 0, adversarial_prediction = 0;
  std::string surrogate, attack;
  double norm = 0;
  bool operator==(const GalleryEntry&) const = default;
};

struct Predictions {
  std::vector<int64_t> clean, adversarial;
  bool operator==(const Predictions&) const = default;
};

/// On the adversarial images rounded to 8 bits.
struct QuantisedResult {
  double robust_accuracy = 0;
  Flags robust;
  bool operator==(const QuantisedResult&) const = default;
};

struct CompanyResult {
  int64_t size = 0;
  uint64_t seed = 0;
  bool operator==(const CompanyResult&) const = default;
};

/// A run of hpm evaluate.
struct RunResults {
  std::string hpm_version, commit, started;  ///< `started`: UTC, ISO 8601
  std::optional<double> seconds, checks_seconds;
  std::string model;  ///< its file
  ModelResult model_info;
  std::string role;  ///< base, control, l2 or hpm, or a name
  std::string dataset, split;
  std::vector<std::string> class_names;
  int64_t n = 0, first_index = 0;
  std::vector<int64_t> indices;       ///< empty: from first_index on
  std::optional<int64_t> split_size;  ///< images that the split holds
  std::vector<int64_t> labels;
  std::string norm;
  double eps = 0;
  std::string protocol, version;
  bool changed_settings = false;  ///< of autoattack: the user gave settings in place of the version's
  std::string budget;             ///< the attacks in words; runs with other budgets are not compared
  std::optional<CompanyResult> company;
  uint64_t seed = 0;
  int64_t threads = 0;
  ContextResult first;  ///< the figures of the first context, or of a model without contexts; where there are contexts,
                        ///< its lists are empty here
  Predictions predictions;  ///< in the first context
  std::optional<double> standard_error;
  std::vector<AttackPass> attacks;
  std::vector<StageResult> stages;   ///< of the protocol fast
  std::optional<bool> escalated;     ///< an alarm fired, and AutoAttack attacked what stood; of fast evaluations
  std::vector<AlarmResult> alarms;   ///< of fast evaluations
  std::optional<BoundResult> bound;  ///< of the protocol fast, where it attacked a sample
  std::optional<int64_t> autoattack_passes;  ///< what AutoAttack would have taken, about; forward
  std::vector<ContextResult> contexts;       ///< of a model with contexts
  std::vector<CurvePoint> curve;
  std::vector<SweepPoint> sweep;
  std::vector<CompositionResult> compositions;
  std::optional<SelfTestResult> self_test;
  std::optional<PairedModel> base;
  std::optional<QuantisedResult> quantised;
  int64_t borderline = 0;
  std::vector<CheckResult> checks;
  bool suspect = false;
  std::vector<std::string> reasons, notes;
  std::vector<GalleryEntry> gallery;
  std::string config;  ///< JSON of the options
  bool operator==(const RunResults&) const = default;
};

/// results.json of these results.
std::string results_text(const RunResults& results);

/// The results that a results.json holds, of this version or an earlier one. Throws Error, naming `where` and the
/// field, for another schema, a field of the wrong type, flags that are not one an image, or more images, classes,
/// counts or levels of nesting than any evaluation has: the file may be a stranger's.
RunResults read_results(std::string_view json, const std::string& where);

/// The JSON Schema (draft 2020-12) of results_text(), from the same list of fields.
std::string results_schema();

}  // namespace hpm
