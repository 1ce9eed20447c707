#include "hpm/io/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>

#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"

namespace hpm {

namespace {

/// libarchive does not always give one.
const char* reason_of(archive* reader) {
  const char* reason = archive_error_string(reader);
  return reason ? reason : "no reason given";
}

}  // namespace

struct Archive::Handle {
  std::string path;
  archive* reader = archive_read_new();
  ~Handle() { archive_read_free(reader); }
};

Archive::Archive(const std::string& path) : handle_(std::make_unique<Handle>()) {
  refuse_foreign_content(FileSource(path), true);
  handle_->path = path;
  auto* reader = handle_->reader;
  if (!reader) hpm::fail("{}: libarchive is out of memory", path);
  archive_read_support_filter_gzip(reader);
  archive_read_support_filter_bzip2(reader);
  archive_read_support_filter_xz(reader);
  archive_read_support_filter_zstd(reader);
  archive_read_support_format_tar(reader);
  archive_read_support_format_zip(reader);
  if (archive_read_open_filename(reader, path.c_str(), 1 << 18) != ARCHIVE_OK)
    fail("is no tar or zip archive that can be read: {}", reason_of(reader));
}

Archive::~Archive() = default;

std::optional<ArchiveEntry> Archive::next() {
  archive_entry* entry = nullptr;
  const int code = archive_read_next_header(handle_->reader, &entry);
  if (code == ARCHIVE_EOF) return std::nullopt;
  if (code != ARCHIVE_OK) {
    fail("is broken: {}. Perhaps an incomplete download; get it anew", reason_of(handle_->reader));
  }
  const char* name = archive_entry_pathname(entry);
  ArchiveEntry out{.name = name ? name : ""};
  const auto type = archive_entry_filetype(entry);
  const bool link = archive_entry_hardlink(entry) || type == AE_IFLNK;
  out.kind = link               ? ArchiveKind::link
             : type == AE_IFREG ? ArchiveKind::file
             : type == AE_IFDIR ? ArchiveKind::folder
                                : ArchiveKind::other;
  if (archive_entry_size_is_set(entry) && archive_entry_size(entry) >= 0)
    out.size = static_cast<uint64_t>(archive_entry_size(entry));
  return out;
}

size_t Archive::read(std::span<std::byte> out) {
  const auto count = archive_read_data(handle_->reader, out.data(), out.size());
  if (count >= 0) return static_cast<size_t>(count);
  fail("is broken: {}. Perhaps an incomplete download; get it anew", reason_of(handle_->reader));
}

void Archive::fail_here(const std::string& text) const {
  hpm::fail("{}: {} (at byte {})", handle_->path, printable(text),
            std::max<int64_t>(archive_filter_bytes(handle_->reader, -1), 0));
}

std::string Archive::library() { return archive_version_string(); }

}  // namespace hpm
