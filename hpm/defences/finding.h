// defines: Finding
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// What broke an image: which attack, on which surrogate, aimed at which target.
struct Finding {
  std::string surrogate = {};                     ///< its name; empty for a plain model attacked by its own gradient
  SurrogateKind kind = SurrogateKind::white_box;  ///< of the surrogate
  std::string attack = {};  ///< its name, e.g. apgd-ce; empty for a composition of several attacks' images
  std::string target = {};  ///< the context that the attack was aimed at; empty for a plain model
  bool composed = false;    ///< joint: the image is part of a batch composed of several attacks' finds
  std::optional<int64_t> colluders = {};  ///< found by the study of colluding neighbours, with so many of them
  std::optional<double> radius = {};      ///< found by the attacks on a smaller radius, this one

  /// False where nothing broke the image.
  explicit operator bool() const { return !attack.empty() || composed || colluders.has_value() || radius.has_value(); }
  bool operator==(const Finding&) const = default;
};

/// In words, as seen from the context `seen_from`: "ste/apgd-ce", "fc/apgd-t in solo" where the attack was aimed at
/// another context, ", composed" where a composition broke it, ", eps 0.01" where it was found within that smaller
/// radius. Empty for none.
std::string to_string(const Finding& finding, const std::string& seen_from);

}  // namespace hpm
