#include "hpm/io/unpack.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>

#include "hpm/core/error.h"
#include "hpm/io/archive.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;

std::string reason() { return std::generic_category().message(errno); }

/// The parts of a path but for empty ones and ".".
std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const auto part = name.substr(begin, end - begin);
    if (!part.empty() && part != ".") parts.push_back(part);
    begin = end + 1;
  }
  return parts;
}

/// A folder inside `parent` that is removed at the end with what is left in it.
class Scratch {
 public:
  explicit Scratch(const fs::path& parent) {
    std::error_code code;
    fs::create_directories(parent, code);
    std::string name = (parent / ".unpack-XXXXXX").string();
    if (code || !mkdtemp(name.data())) fail("{}: no folder can be made there: {}", parent.string(), reason());
    path = name;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  fs::path path;
};

class Unpacker {
 public:
  Unpacker(const std::string& path, const fs::path& folder, const UnpackLimits& limits)
      : archive_(path), folder_(folder), limits_(limits), scratch_(folder) {
    const uint64_t expanded = saturating_product(fs::file_size(path), limits.expansion);
    allowed_ = std::min(limits.bytes, saturating_sum(expanded, limits.free_bytes));
    name_ = path;
  }

  Unpacked run() {
    uint64_t entries = 0;
    while (const auto entry = archive_.next()) {
      if (++entries > limits_.entries) archive_.fail("holds more than {} entries", limits_.entries);
      take(*entry);
    }
    for (const auto& top : tops_)
      if (fs::exists(fs::symlink_status(folder_ / top)))
        fail("{}: {} is there already; remove it, or unpack elsewhere", name_, (folder_ / top).string());
    for (const auto& top : tops_) fs::rename(scratch_.path / top, folder_ / top);
    out_.top.assign(tops_.begin(), tops_.end());
    return out_;
  }

 private:
  void take(const ArchiveEntry& entry) {
    if (entry.kind == ArchiveKind::folder && (entry.name == "." || entry.name == "./")) return;
    if (const auto fault = member_name_fault(entry.name); !fault.empty())
      archive_.fail("the entry \"{}\" {}; the archive is hostile or broken", printable(entry.name), fault);
    const auto name = fmt::format("{}", fmt::join(parts_of(entry.name), "/"));
    if (entry.kind == ArchiveKind::link) archive_.fail("\"{}\" is a link; only files and folders are unpacked", name);
    if (entry.kind == ArchiveKind::other) archive_.fail("\"{}\" is neither a file nor a folder", name);
    tops_.insert(name.substr(0, name.find('/')));
    const auto target = scratch_.path / name;
    std::error_code code;
    fs::create_directories(entry.kind == ArchiveKind::folder ? target : target.parent_path(), code);
    if (code) archive_.fail("\"{}\" stands where a file or another folder is: {}", name, code.message());
    if (entry.kind == ArchiveKind::file) write(entry, name, target);
  }

  void write(const ArchiveEntry& entry, const std::string& name, const fs::path& target) {
    if (entry.size) check_size(saturating_sum(out_.bytes, *entry.size), name);
    // "x": names given twice, also in another case on such a file system, are refused.
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(target.c_str(), "wbx"), std::fclose);
    if (!file) archive_.fail("\"{}\" cannot be made: {}", name, reason());
    for (size_t count; (count = archive_.read(buffer_)) > 0;) {
      out_.bytes += count;
      check_size(out_.bytes, name);
      if (std::fwrite(buffer_.data(), 1, count, file.get()) != count) fail("{}: {}", target.string(), reason());
    }
    if (std::fflush(file.get()) != 0) fail("{}: {}", target.string(), reason());
    ++out_.files;
  }

  void check_size(uint64_t bytes, const std::string& name) const {
    if (bytes > allowed_)
      archive_.fail("with \"{}\" its files would take {} bytes; at most {} are unpacked from an archive of this size",
                    name, bytes, allowed_);
  }

  Archive archive_;
  fs::path folder_;
  UnpackLimits limits_;
  Scratch scratch_;
  std::string name_;
  uint64_t allowed_ = 0;
  std::set<std::string> tops_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(1 << 18);
  Unpacked out_;
};

}  // namespace

std::string member_name_fault(std::string_view name) {
  if (name.starts_with('/')) return "has an absolute name";
  if (name.size() > 4096) return "has a name of over 4096 bytes";
  if (std::ranges::any_of(name, [](unsigned char c) { return c < 32 || c == 127 || c == '\\'; }))
    return "has a control character or backslash in its name";
  const auto parts = parts_of(name);
  if (std::ranges::find(parts, "..") != parts.end()) return "leads out of its folder";
  if (std::ranges::any_of(parts, [](auto part) { return part.size() > 255; }))
    return "has a part of over 255 bytes in its name";
  return parts.empty() ? "has no name" : "";
}

Unpacked unpack_archive(const std::string& archive, const std::string& folder, const UnpackLimits& limits) {
  return Unpacker(archive, folder.empty() ? fs::path(".") : fs::path(folder), limits).run();
}

std::vector<Bytes> read_members(const std::string& path, const std::vector<std::string>& names, uint64_t limit) {
  std::vector<Bytes> out(names.size());
  std::vector<bool> found(names.size(), false);
  std::vector<std::byte> buffer(1 << 18);
  Archive archive(path);
  while (const auto entry = archive.next()) {
    std::string_view name = entry->name;
    if (name.starts_with("./")) name.remove_prefix(2);
    const auto place = static_cast<size_t>(std::ranges::find(names, name) - names.begin());
    if (place == names.size() || entry->kind != ArchiveKind::file) continue;
    if (found[place]) archive.fail("holds \"{}\" twice", name);
    if (entry->size.value_or(0) > limit)
      archive.fail("\"{}\" takes {} bytes; at most {} are read", name, *entry->size, limit);
    std::string content;
    for (size_t count; (count = archive.read(buffer)) > 0;) {
      if (count > limit - content.size()) archive.fail("\"{}\" takes more than {} bytes", name, limit);
      content.append(reinterpret_cast<const char*>(buffer.data()), count);
    }
    out[place] = Bytes(std::as_bytes(std::span(content)));
    found[place] = true;
    if (std::ranges::find(found, false) == found.end()) return out;
  }
  const auto missing = static_cast<size_t>(std::ranges::find(found, false) - found.begin());
  archive.fail("ends without \"{}\"", names[missing]);
}

}  // namespace hpm
