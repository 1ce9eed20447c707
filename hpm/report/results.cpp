#include "hpm/report/results_impl.h"

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/text.h"
#include "hpm/evaluation/results/run_results_impl.h"

namespace hpm {
namespace {

constexpr int64_t kMostClasses = 1'000'001;  // labels end at a million

/// Accuracies become numbers of images, so they must be percentages.
void check_accuracies(const ReportedRun& run, const std::string& where) {
  const auto check = [&](const char* name, const std::optional<double>& value) {
    if (value && !(*value >= 0 && *value <= 100 + 1e-6))
      fail("{}: \"{}\" needs a percentage from 0 to 100, but holds {:.6g}", where, name, *value);
  };
  const auto check_other = [&](const std::optional<PairedModel>& model) {
    if (!model) return;
    check("clean_accuracy", model->clean_accuracy);
    check("robust_accuracy", model->robust_accuracy);
  };
  const auto check_context = [&](const ContextResult& context) {
    check("clean_accuracy", context.clean_accuracy);
    check("robust_accuracy", context.robust_accuracy);
    check_other(context.control);
  };
  check_context(run.first);
  for (const auto& context : run.contexts) check_context(context);
  for (const auto& attack : run.attacks) check("robust_accuracy", attack.robust_accuracy);
  check_other(run.base);
}

void check_level(const nlohmann::json& json, const std::string& name, const std::string& where, int depth) {
  if (depth > kDeepest) fail("{}: is nested deeper than {} levels, which no run is", where, kDeepest);
  if (json.is_number_integer() && !name.ends_with("seed")) {
    const bool large = json.is_number_unsigned()
                           ? json.get<uint64_t>() > static_cast<uint64_t>(kLargestCount)
                           : json.get<int64_t>() > kLargestCount || json.get<int64_t>() < -kLargestCount;
    if (large) fail("{}: \"{}\" holds {}, which no count of a run is", where, printable(name), json_text(json));
  }
  if (json.is_object())
    for (const auto& [key, value] : json.items()) check_level(value, key, where, depth + 1);
  else if (json.is_array())
    for (const auto& value : json) check_level(value, name, where, depth + 1);
}

/// What older files leave out, and what goes by another name in a report.
void complete(ReportedRun& run, const std::string& where) {
  if (run.budget.empty()) run.budget = run.protocol + (run.version.empty() ? "" : " " + run.version);
  const auto& head = run.model_info.head;
  if (run.role.empty()) run.role = head == "hpm" || head == "l2" ? head : "";
  // A role of the user's own is a name; a model without one goes by its file.
  const bool named = !run.role.empty() && !is_known_role(run.role);
  run.name = named ? run.role : file_title(run.model);
  if (run.name.empty()) run.name = "the model";
  run.classes = run.model_info.classes;
  for (const auto label : run.labels) run.classes = std::max(run.classes, label + 1);
  if (run.classes < 0 || run.classes > kMostClasses)
    fail("{}: \"classes\" needs a number up to {}, but holds {}", where, kMostClasses, run.classes);
  if (run.contexts.empty()) run.contexts.push_back(run.first);
  if (!run.contexts.front().control) run.contexts.front().control = run.first.control;
  for (auto& context : run.contexts)
    if (context.control && context.control->name.empty()) context.control->name = "control";
  if (run.base && run.base->name.empty()) run.base->name = "base";
}

}  // namespace

bool is_known_role(const std::string& role) {
  return role == "base" || role == "control" || role == "l2" || role == "hpm";
}

std::string file_title(const std::string& path) {
  const std::filesystem::path file(path);
  const auto folder = file.parent_path().filename().string();
  const bool generic = file.filename() == "model.safetensors" && !folder.empty();
  return (generic ? folder + "/" : "") + file.filename().string();
}

std::vector<std::string> failed_checks(const RunResults& run) {
  std::vector<std::string> names;
  for (const auto& check : run.checks)
    if (check.status == "failed" && std::find(names.begin(), names.end(), check.name) == names.end())
      names.push_back(check.name);
  return names;
}

std::vector<std::string> suspicions(const RunResults& run) {
  if (!run.reasons.empty()) return run.reasons;
  std::vector<std::string> out;
  for (const auto& check : run.checks)
    if (check.status == "failed") out.push_back(check.name + (check.detail.empty() ? "" : " (" + check.detail + ")"));
  return out;
}

bool is_suspect(const RunResults& run) { return run.suspect || !suspicions(run).empty(); }

void check_document(const nlohmann::json& json, const std::string& where) { check_level(json, "", where, 0); }

ReportedRun parse_results(const nlohmann::json& json, const std::string& where) {
  ReportedRun run{parse_run_results(json, where)};
  complete(run, where);
  check_accuracies(run, where);
  return run;
}

}  // namespace hpm
