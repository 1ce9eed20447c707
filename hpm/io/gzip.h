// defines: gunzip_file()
#pragma once
#include <string>

#include "hpm/io/bytes.h"

namespace hpm {

/// The content of a gzip file (RFC 1952). Throws Error for a broken one, and for one that holds over `limit` bytes.
Bytes gunzip_file(const std::string& path, uint64_t limit);

}  // namespace hpm
