// Pieces of JSON that results.json and analysis.json share.
#pragma once
#include <nlohmann/json.hpp>

#include "hpm/prototypes/model.h"

namespace hpm {

nlohmann::ordered_json model_json(const HpmModel& model);
/// [n] bool or integers as a list; null where undefined.
nlohmann::ordered_json flags_json(const Tensor& flags);

}  // namespace hpm
