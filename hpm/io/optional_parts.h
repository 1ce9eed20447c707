// defines: OptionalPart, optional_parts()
#pragma once
#include <string>
#include <vector>

namespace hpm {

/// An optional library.
struct OptionalPart {
  std::string name;     ///< "archives"
  std::string library;  ///< with its version; empty where this build has none
  std::string reads;    ///< what it is for
  std::string package;  ///< Debian's
};
std::vector<OptionalPart> optional_parts();

}  // namespace hpm
