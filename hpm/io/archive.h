// defines: Archive, ArchiveEntry
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "hpm/io/bytes.h"

namespace hpm {

enum class ArchiveKind : uint8_t { file, folder, link, other };

struct ArchiveEntry {
  std::string name;  ///< as the archive has it, and so perhaps hostile
  ArchiveKind kind = ArchiveKind::file;
  std::optional<uint64_t> size;  ///< after decompression, where the archive says it
};

/// A tar or zip archive, plain or compressed (gzip, bzip2, xz, zstd), read from front to back. Without libarchive
/// (archive_stub.cpp) every archive is refused with a message that names the package.
class Archive {
 public:
  explicit Archive(const std::string& path);
  ~Archive();
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  /// The next entry, none at the end. Throws Error for a broken archive.
  std::optional<ArchiveEntry> next();
  /// The next bytes of the entry; 0 at its end. Throws Error for a broken archive.
  size_t read(std::span<std::byte> out);
  /// Throws Error "<path>: <text> (at byte <offset>)", the offset being that of the compressed data.
  template <class... A>
  [[noreturn]] void fail(fmt::format_string<A...> format, A&&... arguments) const {
    fail_here(fmt::format(format, std::forward<A>(arguments)...));
  }

  /// The library and its version, empty where this build has none.
  static std::string library();

 private:
  [[noreturn]] void fail_here(const std::string& text) const;
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace hpm
