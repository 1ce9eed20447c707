// defines: not_dominated(), spread(), Overview, overview_of()
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "hpm/report/comparison_impl.h"

namespace hpm {

/// Of points of two accuracies those that no other one dominates, by rising first accuracy: no other point has both at
/// least as high and one higher.
std::vector<size_t> not_dominated(const std::vector<std::array<double, 2>>& points);

/// At most `most` of the items, evenly spread, both ends among them.
std::vector<size_t> spread(const std::vector<size_t>& items, size_t most);

/// Beyond so many runs the page has no gallery, and the part of each run is short.
inline constexpr size_t kMostGalleries = 12;

/// Where the runs of a comparison stand in clean and robust accuracy, each by its first context.
struct Overview {
  static constexpr size_t kMostNamed = 8;  ///< as many as there are colours

  std::optional<size_t> basis;   ///< the run that decides which others were evaluated alike: the reference, if any
  std::vector<size_t> attacked;  ///< runs with both accuracies
  std::vector<size_t> alike;     ///< of these: evaluated as the basis was, and not suspect
  std::vector<size_t> front;     ///< of these: dominated by no other, by rising clean accuracy
  std::vector<size_t> named;     ///< of these: the ones with a name and a colour in the charts
  size_t suspect = 0;            ///< runs that did not pass their checks

  bool is_alike(size_t run) const;
  bool is_front(size_t run) const;
  /// The place of a named run, from 1 on; 0 for any other.
  size_t number_of(size_t run) const;
  /// Its colour class: t-1 to t-8.
  std::string tone_of(size_t run) const;
};
Overview overview_of(const Comparison& c);

}  // namespace hpm
