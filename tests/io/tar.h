// Hand-made tar archives (POSIX ustar), also hostile ones.
#pragma once
#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace hpm::test {

struct TarItem {
  std::string name, data = {};
  char type = '0';  ///< '0' file, '1' hard link, '2' symbolic link, '5' folder, '6' pipe
  std::string target = {};
};

inline std::string tar_of(const std::vector<TarItem>& items) {
  std::string out;
  for (const auto& item : items) {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& text) { header.replace(at, text.size(), text); };
    char octal[13];
    std::snprintf(octal, sizeof octal, "%011lo", static_cast<unsigned long>(item.data.size()));
    put(0, item.name), put(100, "0000644"), put(108, "0000000"), put(116, "0000000"), put(124, octal);
    put(136, "00000000000"), put(148, "        ");
    header[156] = item.type == '0' && item.name.ends_with('/') ? '5' : item.type;
    put(157, item.target), put(257, std::string("ustar\0", 6) + "00");
    unsigned sum = 0;
    for (const unsigned char c : header) sum += c;
    std::snprintf(octal, sizeof octal, "%06o", sum);
    put(148, octal), header[154] = '\0';
    out += header + item.data + std::string((512 - item.data.size() % 512) % 512, '\0');
  }
  return out + std::string(1024, '\0');
}

inline std::string write_tar_gz(const std::filesystem::path& path, const std::vector<TarItem>& items) {
  const auto bytes = tar_of(items);
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  return path.string();
}

}  // namespace hpm::test
