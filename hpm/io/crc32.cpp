#include "hpm/io/crc32.h"

#include <libdeflate.h>

namespace hpm {

uint32_t crc32_of(std::span<const std::byte> bytes, uint32_t so_far) {
  if (bytes.empty()) return so_far;  // libdeflate starts anew at a null pointer
  return libdeflate_crc32(so_far, bytes.data(), bytes.size());
}

}  // namespace hpm
