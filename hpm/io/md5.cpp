#include "hpm/io/md5.h"

#include "hpm/io/digest_impl.h"

namespace hpm {

std::string md5(std::span<const std::byte> bytes) {
  Digest digest(EVP_md5());
  digest.update(bytes);
  return digest.hex();
}

}  // namespace hpm
