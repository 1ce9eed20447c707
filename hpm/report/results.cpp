#include "hpm/report/results_impl.h"

#include "hpm/core/error.h"
#include "hpm/evaluation/results/run_results_impl.h"

namespace hpm {
namespace {

/// What older files leave out, and what goes by another name in a report.
void complete(ReportedRun& run) {
  if (run.budget.empty()) run.budget = run.protocol + (run.version.empty() ? "" : " " + run.version);
  const auto& head = run.model_info.head;
  if (run.role.empty()) run.role = head == "hpm" || head == "l2" ? head : "";
  // A role of the user's own is a name; a model without one goes by its file.
  const bool named = !run.role.empty() && !is_known_role(run.role);
  run.name = named ? run.role : file_title(run.model);
  if (run.name.empty()) run.name = "the model";
  run.classes = run.model_info.classes;
  for (const auto label : run.labels) run.classes = std::max(run.classes, label + 1);
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

ReportedRun parse_results(const nlohmann::json& json, const std::string& where) {
  ReportedRun run{parse_run_results(json, where)};
  complete(run);
  return run;
}

}  // namespace hpm
