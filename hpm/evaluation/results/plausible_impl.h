// defines: require_plausible()
#pragma once
#include <string>

#include "hpm/evaluation/results/run_results.h"

namespace hpm {

/// Throws Error, with the field, for results that no evaluation gives: counts and image numbers beyond any data set, a
/// list that has another length than the images, more images won and lost than there are. `where` names the file.
void require_plausible(const RunResults& results, const std::string& where);

}  // namespace hpm
