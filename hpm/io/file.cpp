#include "hpm/io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace hpm {
namespace {

std::string reason() { return std::generic_category().message(errno); }

/// A link may be there whose target is not: git-annex keeps such links for files that it has not fetched.
[[noreturn]] void fail_missing(const std::string& path) {
  std::error_code none;
  const auto target = std::filesystem::read_symlink(path, none).string();
  if (none) fail("{}: no such file", path);
  if (target.find("annex/objects/") != std::string::npos)
    fail("{}: is a git-annex link, whose file is not here: fetch it with `git annex get FILE` in its repository", path);
  fail("{}: is a link to {}, where there is no file", path, target);
}

// One call to read or write moves at most 2 GiB.
constexpr size_t chunk = size_t{1} << 30;

}  // namespace

FileSource::FileSource(const std::string& path) : ByteSource(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not block before it is refused
  if (descriptor_ < 0) {
    if (errno == ENOENT || errno == ENOTDIR) fail_missing(path);
    fail("{}: cannot be opened for reading: {}", path, reason());
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  if (known && S_ISDIR(status.st_mode)) fail("{}: is a folder; name a file in it", path);
  fail("{}: is not a regular file", path);
}

FileSource::~FileSource() { ::close(descriptor_); }

void FileSource::read_checked(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), std::min(out.size(), chunk), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_at(offset, "cannot be read: {}", reason());
    if (got == 0) fail_at(offset, "became shorter while it was read");
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

Bytes read_file(const std::string& path) {
  const FileSource file(path);
  return file.read(0, file.size());
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".XXXXXX") {
  if (std::filesystem::is_directory(path_)) fail("{}: is a folder; name a file to write", path_);
  descriptor_ = ::mkstemp(temporary_.data());
  if (descriptor_ < 0) fail_to("a file cannot be made in this folder");
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(descriptor_, 0666 & ~mask) != 0) fail_to("its permissions cannot be set");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail_to(const char* what) const { fail("{}: {}: {}", path_, what, reason()); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor_, bytes.data(), std::min(bytes.size(), chunk));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail_to("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(wrote));
    written_ += static_cast<uint64_t>(wrote);
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_to("cannot be flushed to the disk");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_to("cannot be renamed into place");
  ::close(descriptor_);
  descriptor_ = -1;
  const auto folder = std::filesystem::path(path_).parent_path();
  const int handle = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return;
  ::fsync(handle);  // makes the rename durable; some file systems refuse it, and the file itself is safe
  ::close(handle);
}

ScratchFile::ScratchFile(const std::string& folder)
    : folder_(folder.empty() ? std::filesystem::temp_directory_path().string() : folder) {
  auto path = folder_ + "/scratch.XXXXXX";
  descriptor_ = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor_ < 0 || ::unlink(path.c_str()) != 0) fail_to("made");
}

ScratchFile::~ScratchFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ScratchFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote =
        ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), chunk), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) fail_to("written");
    bytes = bytes.subspan(static_cast<size_t>(wrote));
    offset += static_cast<uint64_t>(wrote);
  }
}

void ScratchFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), std::min(out.size(), chunk), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail_to("read");
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

void ScratchFile::fail_to(const char* what) const {
  fail("{}: a temporary file cannot be {}: {}", folder_, what, reason());
}

FileLock::FileLock(std::string path) : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("{}: cannot be made: {}", path, reason());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(descriptor_);
  fail("{}: another process is writing there; wait for it, or give another --out", path);
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace hpm
