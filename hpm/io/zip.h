// defines: ZipArchive, ZipEntry
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hpm/io/bytes.h"

namespace hpm {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  uint32_t crc = 0;
  uint64_t stored_size = 0, size = 0;  ///< bytes in the file, bytes after decompression
  uint64_t header = 0, data = 0;       ///< offsets in the file
};

/// A zip file opened for reading (APPNOTE.TXT 6.3.10; stored and deflated entries, zip64). The whole directory is
/// checked at once: entries lie inside the file and apart from each other, names are unique and stay in their folder,
/// and what decompression would take is bounded.
class ZipArchive {
 public:
  /// `source` must outlive the archive.
  explicit ZipArchive(const ByteSource& source);

  static bool recognises(const ByteSource& source);
  const ByteSource& source() const { return source_; }
  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(const std::string& name) const;
  /// The decompressed bytes; throws Error when they do not have the size or the checksum the directory declares.
  Bytes read(const ZipEntry& entry) const;
  /// Compares the checksum of a stored (not deflated) entry, in little memory; throws Error when it is wrong.
  void check(const ZipEntry& entry) const;

 private:
  void check_layout(uint64_t directory) const;
  const ByteSource& source_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace hpm
