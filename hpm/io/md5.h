// defines: md5()
#pragma once
#include <cstddef>
#include <span>
#include <string>

#include "hpm/io/bytes.h"

namespace hpm {

/// MD5 (RFC 1321) as 32 lower-case digits. Some publishers of data sets give no other checksum. It detects a broken
/// download, but no forged one.
std::string md5(std::span<const std::byte> bytes);

}  // namespace hpm
