// Pieces of JSON that results.json and analysis.json share.
#pragma once
#include <nlohmann/json.hpp>

#include "hpm/evaluation/results/run_results_impl.h"
#include "hpm/prototypes/model.h"

namespace hpm {

ModelResult model_result(const HpmModel& model);
/// [n] bool or integers as a list; null where undefined.
nlohmann::ordered_json flags_json(const Tensor& flags);

}  // namespace hpm
