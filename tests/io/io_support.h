// Hand-made files for the tests of io: zip archives and pickles, field by field.
#pragma once
#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "hpm/core/error.h"
#include "hpm/io/bytes.h"
#include "support/support.h"

namespace hpm::test {

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

template <class T>
std::string little(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

inline std::string fixture(const std::string& name) {
  std::ifstream file(source_dir() / "tests/io/fixtures" / name, std::ios::binary);
  if (!file) throw std::runtime_error("no fixture " + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte b : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}

/// One entry of a zip archive; the fields that a test spoils are set by hand.
struct ZipItem {
  std::string name, data;
  bool deflate = false;
  uint16_t flags = 0;
  std::string stored = {};      ///< what lies in the file; filled from data when empty
  int64_t size = -1, crc = -1;  ///< what the directory says; -1: the truth
  int64_t header = -1;          ///< offset of the local header that the directory names; -1: the truth
};

inline std::string deflated(const std::string& data) {
  std::string out(compressBound(data.size()) + 64, '\0');
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

inline std::string make_zip(std::vector<ZipItem> items) {
  std::string out, directory;
  for (auto& item : items) {
    if (item.stored.empty()) item.stored = item.deflate ? deflated(item.data) : item.data;
    const auto crc = item.crc >= 0 ? static_cast<uint32_t>(item.crc)
                                   : static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(item.data.data()),
                                                                 static_cast<uInt>(item.data.size())));
    const auto size = static_cast<uint32_t>(item.size >= 0 ? static_cast<size_t>(item.size) : item.data.size());
    const auto here = static_cast<uint32_t>(item.header >= 0 ? static_cast<size_t>(item.header) : out.size());
    const std::string common = little<uint16_t>(20) + little(item.flags) + little<uint16_t>(item.deflate ? 8 : 0) +
                               little<uint32_t>(0) + little(crc) + little(static_cast<uint32_t>(item.stored.size())) +
                               little(size) + little(static_cast<uint16_t>(item.name.size())) + little<uint16_t>(0);
    out += "PK\3\4" + common + item.name + item.stored;
    directory += "PK\1\2" + little<uint16_t>(20) + common + little<uint16_t>(0) + little<uint16_t>(0) +
                 little<uint16_t>(0) + little<uint32_t>(0) + little(here) + item.name;
  }
  const auto count = static_cast<uint16_t>(items.size());
  return out + directory + "PK\5\6" + little<uint32_t>(0) + little(count) + little(count) +
         little(static_cast<uint32_t>(directory.size())) + little(static_cast<uint32_t>(out.size())) +
         little<uint16_t>(0);
}

/// Every prefix of `file` must be refused with an Error.
inline void expect_truncations_refused(const std::string& file, const std::function<void(const ByteSource&)>& read) {
  for (size_t size = 0; size < file.size(); ++size) {
    const MemorySource source("truncated", bytes_of(file).first(size));
    EXPECT_THROW(read(source), Error) << "of " << file.size() << " bytes, the first " << size;
  }
}

/// Every byte changed in several ways: the file is read or refused with an Error, and nothing else happens.
inline void expect_flips_survived(std::string file, const std::function<void(const ByteSource&)>& read) {
  size_t refused = 0;
  for (size_t i = 0; i < file.size(); ++i) {
    const char before = file[i];
    for (const unsigned flip : {0x01u, 0x80u, 0xFFu, 0x20u}) {
      file[i] = static_cast<char>(static_cast<unsigned char>(before) ^ flip);
      try {
        read(MemorySource("flipped", bytes_of(file)));
      } catch (const Error&) {
        ++refused;
      } catch (const std::exception& error) {
        ADD_FAILURE() << "byte " << i << " flipped by " << flip << " threw another exception: " << error.what();
      }
    }
    file[i] = before;
  }
  EXPECT_GT(refused, 0u);
}

}  // namespace hpm::test
