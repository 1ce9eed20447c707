// In place of archive.cpp in a build without libarchive.
#include "hpm/core/error.h"
#include "hpm/io/archive.h"

namespace hpm {

struct Archive::Handle {};

Archive::Archive(const std::string& path) {
  hpm::fail("{}: this build has no libarchive, which reads archives. Unpack it by hand, or: {}", path,
            "apt-get install libarchive-dev, and build again");
}
Archive::~Archive() = default;
std::optional<ArchiveEntry> Archive::next() { return std::nullopt; }
size_t Archive::read(std::span<std::byte>) { return 0; }
void Archive::fail_here(const std::string& text) const { hpm::fail("{}", text); }
std::string Archive::library() { return {}; }

}  // namespace hpm
