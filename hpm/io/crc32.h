// defines: crc32_of()
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace hpm {

/// The CRC-32 of zip files and zlib: of `bytes`, appended to bytes whose checksum is `so_far`. Computed by libdeflate
/// where the build found it, because zlib's takes longer than reading the bytes; else by zlib.
uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t so_far = 0);

}  // namespace hpm
