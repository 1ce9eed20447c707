// results.json as a JSON document, for those who have it as one already.
// defines: json_of(), parse_run_results()
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "hpm/evaluation/results/run_results.h"

namespace hpm {

nlohmann::ordered_json json_of(const ModelResult& model);

/// As read_results.
RunResults parse_run_results(const nlohmann::json& json, const std::string& where);

}  // namespace hpm
