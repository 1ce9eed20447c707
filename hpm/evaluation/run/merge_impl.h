// defines: Parts, require_same_settings(), require_no_overlap(), company_warnings(), gap_warnings()
#pragma once
#include <string>
#include <vector>

#include "hpm/evaluation/run/merge.h"

namespace hpm {

/// The results of the shards, by their first images.
using Parts = std::vector<const RunResults*>;

/// Throws UsageError that names the option, data set or context in which two shards differ.
void require_same_settings(const std::vector<Shard>& shards);
/// Throws UsageError for an image that two shards have.
void require_no_overlap(const std::vector<Shard>& shards);
/// What shards change about the batches of solo and joint, a line each.
std::vector<std::string> company_warnings(const Parts& parts);
/// Images before, between and behind the shards that none of them has, a line for each gap.
std::vector<std::string> gap_warnings(const RunResults& merged, const Parts& parts);

}  // namespace hpm
