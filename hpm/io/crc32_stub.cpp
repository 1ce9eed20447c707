#include <zlib.h>

#include "hpm/io/crc32.h"

namespace hpm {

uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t so_far) {
  if (bytes.empty()) return so_far;  // zlib starts anew at a null pointer
  return static_cast<uint32_t>(crc32_z(so_far, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace hpm
