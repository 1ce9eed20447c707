// defines: Quantiles, quantiles(), measures(), common_images(), transfer_matrix(), distance_grid(), share_beyond(),
//          failure_patterns(), wrong_flags()
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "hpm/evaluation/analysis/analysis.h"

namespace hpm {

/// Of the finite values: mean, the 5th, 25th, 50th, 75th and 95th percentile (linear between neighbours), and maximum.
/// All NaN where there are none.
struct Quantiles {
  double mean, p5, p25, median, p75, p95, max;
};
Quantiles quantiles(const Tensor& values);

/// What is summarised of a head, by name, image by image: distance, attacked_distance, change (their difference),
/// local_slope, model_slope (change over input change), feature_gain (feature change over input change) and head_slope
/// (change over feature change). Not finite where an image has none.
std::vector<std::pair<std::string, Tensor>> measures(const HeadAnalysis& head);

/// [n] bool: images that every head has right; what the heads' distances are compared on.
Tensor common_images(const Analysis& analysis);
/// Percent of the common images that head b (column) has right when they were made against head a (row), [H,H] double.
/// Images that a head has wrong are not attacked on its account, so they tell nothing of what transfers.
Tensor transfer_matrix(const Analysis& analysis);

/// The distances at which share_beyond is read: 41 from 0 to the largest 95th percentile of a head.
Tensor distance_grid(const Analysis& analysis);
/// Percent of all images whose distance exceeds each value of the grid. At 0 that is accuracy.
Tensor share_beyond(const Tensor& distance, const Tensor& grid);

/// [H,n] bool: where the heads are wrong, clean or under attack at the threat's radius.
Tensor wrong_flags(const Analysis& analysis, bool attacked);

/// Which heads fail together. wrong [H,n] bool -> 2^H counts: place b counts the images on which exactly the heads of
/// the bits of b are wrong.
std::vector<int64_t> failure_patterns(const Tensor& wrong);

}  // namespace hpm
