// Runs whose every word is an attempt to become markup.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/sample.h"

namespace hpm::test {

/// Every string of a JSON document replaced.
inline void poison(nlohmann::json& json, const std::string& text) {
  if (json.is_string()) json = text;
  else if (json.is_structured())
    for (auto& element : json) poison(element, text);
}

/// Everything in a run that somebody else chose is `text`, but for its role.
inline void poison(RunFiles& run, const std::string& text) {
  const auto role = run.results["role"];
  poison(run.results, text), poison(run.environment, text);
  run.results["role"] = role, run.results["model_info"]["head"] = text;
  run.results["class_names"] = std::vector<std::string>(10, text);
  run.config = run.directory = text;
  run.environment[text] = 1;
}

/// Base, control, l2 and HPM, one of them with a role of the attacker's.
inline std::vector<RunFiles> poisoned_runs(const std::string& text) {
  auto runs = sample_runs(60);
  for (auto& run : runs) poison(run, text);
  runs[2].results["role"] = text;
  return runs;
}

}  // namespace hpm::test
