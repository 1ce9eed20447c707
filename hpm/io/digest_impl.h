// A message digest of OpenSSL.
#pragma once
#include <openssl/evp.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace hpm {

class Digest {
 public:
  /// `type`: EVP_sha256(), EVP_md5(). Throws Error where this OpenSSL refuses it (MD5 in a FIPS mode).
  explicit Digest(const EVP_MD* type);
  void update(std::span<const std::byte> bytes);
  std::string hex();  ///< lower-case digits; ends the computation

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace hpm
