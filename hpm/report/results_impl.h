// defines: RunResults and its parts, parse_results()
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/numbers.h"

namespace hpm {

using Flags = std::vector<int>;  ///< one 0/1 per image

/// The paired comparison with another model on the same images, as evaluation recorded it.
struct PairedModel {
  std::string name, file;
  std::optional<double> clean_accuracy, robust_accuracy;  ///< of the other model, percent
  std::optional<double> difference;                       ///< this model minus the other, points
  std::optional<Interval> difference_interval;            ///< 95 %
  int64_t wins = 0, losses = 0;                           ///< images that only this model, only the other one keeps
  std::optional<double> p;                                ///< McNemar, exact
  std::optional<double> smallest_detectable;              ///< points, at 80 % power
};

struct SurrogateResult {
  std::string name, summary, same_as, unavailable;  ///< at most one of the last two; `unavailable`: the reason, "needs
                                                    ///< ..." where the user can help it
  bool complete = false;  ///< it was given every correctly classified image
  std::optional<double> robust_accuracy;
  int64_t broke = 0, of = 0, first = 0;  ///< it broke `broke` of `of` images; `first` of them nobody had before
};

/// How many images an attack on a surrogate broke first.
struct BrokenBy {
  std::string by;          ///< in words
  bool elsewhere = false;  ///< it was aimed at another context
  int64_t images = 0;
};

/// Of `victims` images of a joint batch, how many fell to an attacker among their neighbours.
struct CollusionResult {
  int64_t colluders = 0, victims = 0, broke = 0;
  bool victim_too = true;
};

struct ContextResult {
  std::string context;  ///< "" for a model without contexts
  std::optional<double> clean_accuracy, robust_accuracy, ste_accuracy, obfuscation_gap, joint_any, worst_draw;
  std::optional<Interval> clean_interval, interval;
  Flags clean_correct, robust;
  std::vector<SurrogateResult> surrogates;
  std::vector<BrokenBy> broken_by;
  std::vector<CollusionResult> collusion;
  std::optional<PairedModel> control;
};

struct AttackPass {
  std::string name, surrogate, context;
  std::optional<double> robust_accuracy;  ///< after this attack, of the sequence so far
  int64_t forward_passes = 0, backward_passes = 0;
  double seconds = 0;
};

struct CurvePoint {
  double eps = 0, robust_accuracy = 0, standard_error = 0;
};

struct SweepPoint {
  std::string context;
  double lambda = 0, clean_accuracy = 0, robust_accuracy = 0;
  bool attacked = false;  ///< otherwise robust_accuracy is an upper bound
};

struct CheckResult {
  std::string name, context, status, unit, detail;  ///< status: "passed", "failed", "reported", "not run"
  std::optional<double> value, limit;
};

struct GalleryEntry {
  int64_t index = 0, label = 0, clean_prediction = 0, adversarial_prediction = 0;
  std::string surrogate, attack;
  double norm = 0;
};

/// results.json, schema 1 (docs/results-format.md), with absent fields as empty optionals, strings and lists.
struct RunResults {
  std::string hpm_version, commit, started, model, name, head, architecture, sha256, role, dataset, split, norm,
      protocol, version, metric, budget;
  std::string folder;  ///< the run directory's name; set by the caller
  std::string label;   ///< what the user calls the run, empty: nothing; set by the caller
  std::string title;   ///< what a comparison calls the run; set by compare_runs
  size_t source = 0;   ///< which of the runs given to the report; set by the caller
  std::optional<double> lambda, seconds, quantised_accuracy;
  int64_t classes = 0, parameters = 0, n = 0, first_index = 0, seed = 0, threads = 0, borderline = 0;
  std::vector<std::string> class_names, reasons, notes;
  std::vector<int64_t> indices, labels, clean_predictions, adversarial_predictions;
  double eps = 0;
  std::string company;                  ///< "128 images, seed 0"
  std::vector<ContextResult> contexts;  ///< never empty; the first is the one that the run's own figures are for
  std::optional<PairedModel> base;
  std::vector<AttackPass> attacks;
  std::vector<CurvePoint> curve;
  std::vector<SweepPoint> sweep;
  std::vector<CheckResult> checks;
  std::vector<GalleryEntry> gallery;
  bool suspect = false;

  const ContextResult& headline() const { return contexts.front(); }
};

/// From this gap (points) on a report speaks of masked gradients; below, STE nearly finds the worst case.
inline constexpr double kMaskedGradients = 1.0;

/// Why the checks make a run suspect: its own reasons, or the checks that failed. Empty: nothing does, unless
/// `suspect`.
std::vector<std::string> suspicions(const RunResults& run);
bool is_suspect(const RunResults& run);
/// The names of the checks that failed, each once.
std::vector<std::string> failed_checks(const RunResults& run);

/// base, control, l2 or hpm: the roles that a comparison understands. Any other is a name.
bool is_known_role(const std::string& role);
/// A short name for the model in a file: its name, with the folder's before it where every run has that file name.
std::string file_title(const std::string& path);

/// Reads results.json. Throws Error, naming `where` and the field, for another schema, a field of the wrong type, or
/// flags that are not one per image.
RunResults parse_results(const nlohmann::json& json, const std::string& where);

}  // namespace hpm
