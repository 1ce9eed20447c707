#include <array>

#include "hpm/core/error.h"
#include "hpm/io/digest_impl.h"

namespace hpm {
namespace {

void check(int success) {
  if (success != 1)
    fail("OpenSSL cannot compute a checksum of this kind here; does it run in a restricted (FIPS) mode?");
}

}  // namespace

Digest::Digest(const EVP_MD* type) : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
  check(context_ ? EVP_DigestInit_ex(context_.get(), type, nullptr) : 0);
}

void Digest::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  check(EVP_DigestFinal_ex(context_.get(), bytes.data(), &size));
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

}  // namespace hpm
