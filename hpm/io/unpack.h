// defines: unpack_archive(), UnpackLimits, Unpacked, member_name_fault(), read_members()
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hpm/io/bytes.h"

namespace hpm {

struct UnpackLimits {
  uint64_t bytes = uint64_t{512} << 30;       ///< of all files together
  uint64_t expansion = 1000;                  ///< of all files together, as a multiple of the archive's size ...
  uint64_t free_bytes = uint64_t{256} << 20;  ///< ... beyond these
  uint64_t entries = 20'000'000;
};

struct Unpacked {
  std::vector<std::string> top;  ///< what now lies in the folder: the first parts of the entries' names
  uint64_t files = 0, bytes = 0;
};

/// Why an entry of this name is not unpacked; "" if it is. Allowed are paths below the current folder: not absolute,
/// without "..", without control characters, no part over 255 bytes.
std::string member_name_fault(std::string_view name);

/// Unpacks files and folders below `folder`, which is made where it is missing: everything or, on an Error, nothing.
/// Links, devices, names that lead out of the folder, names given twice, what is there already, and more than `limits`
/// allows are refused.
Unpacked unpack_archive(const std::string& archive, const std::string& folder, const UnpackLimits& limits = {});

/// The contents of the named files of an archive, each of at most `limit` bytes; what comes after them is not read.
/// Throws Error for one that is missing, too large, or there twice.
std::vector<Bytes> read_members(const std::string& archive, const std::vector<std::string>& names, uint64_t limit);

}  // namespace hpm
