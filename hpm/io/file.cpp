#include "hpm/io/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "hpm/core/error.h"
#include "hpm/core/progress.h"

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

/// /dev/fd/3 or /proc/self/fd/3: the number of a descriptor of this process; else -1.
int own_descriptor(const std::filesystem::path& path) {
  std::error_code error;
  const auto folder = std::filesystem::canonical(path.parent_path(), error);
  const auto name = path.filename().string();
  const bool number = !name.empty() && name.size() < 8 && name.find_first_not_of("0123456789") == std::string::npos;
  return !error && number && folder == fmt::format("/proc/{}/fd", ::getpid()) ? std::stoi(name) : -1;
}

struct Followed {
  std::string path;
  int descriptor = -1;
};

/// Where the symbolic links that start at `path` end: a path that may not exist yet, or a descriptor of this process.
Followed followed(const std::string& path) {
  std::filesystem::path at = path;
  for (int links = 0; links < 40; ++links) {
    if (const int descriptor = own_descriptor(at); descriptor >= 0) return {at.string(), descriptor};
    std::error_code error;
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(at, error))) return {at.string()};
    const auto next = std::filesystem::read_symlink(at, error);
    if (error) fail("{}: cannot be followed: {}", at.string(), error.message());
    at = at.parent_path() / next;  // an absolute `next` stands alone
  }
  fail("{}: the symbolic links lead in a circle", path);
}

/// Until the descriptor is ready or a moment has passed. Throws Interrupted when asked to stop.
void wait_for(pollfd descriptor) {
  if (interrupt_requested()) throw Interrupted("interrupted by the user");
  ::poll(&descriptor, 1, 50);
}

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

std::string beginning_of_file(const std::string& path, size_t bytes) {
  try {
    const FileSource file(path);
    return std::string(file.read(0, std::min<uint64_t>(bytes, file.size())).text());
  } catch (const Error&) {
    return "";
  }
}

bool is_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno == ENOENT || errno == ENOTDIR;
  if (followed(path).descriptor >= 0) return true;
  return S_ISREG(status.st_mode) ? status.st_size == 0 : S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode);
}

bool becomes_a_file(const std::string& path) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  return followed(path).descriptor < 0 && (!exists || S_ISREG(status.st_mode));
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  const auto [target, descriptor] = followed(path_);
  struct stat status {};
  const bool exists = ::stat(path_.c_str(), &status) == 0;
  if (path_.empty() || path_.ends_with('/') || (exists && S_ISDIR(status.st_mode)))
    fail("{}: is a folder; name a file to write", path_.empty() ? "\"\"" : path_);
  target_ = target;
  if (descriptor >= 0) {
    descriptor_ = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);  // shares its place in a file that a shell opened
    if (descriptor_ < 0) fail_to("cannot be opened for writing");
  } else if (exists && !S_ISREG(status.st_mode)) {
    open_through();
  } else {
    open_beside(target);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (::fchmod(descriptor_, exists ? status.st_mode & 0777 : 0666 & ~mask) != 0)
      fail_to("its permissions cannot be set");
  }
}

void AtomicFile::open_beside(const std::string& target) {
  temporary_ = target + ".XXXXXX";
  descriptor_ = ::mkstemp(temporary_.data());
  if (descriptor_ < 0) fail_to("a file cannot be made in this folder");
}

void AtomicFile::open_through() {
  // A FIFO without a reader would block in open() and in write(), where Ctrl-C could not be heard.
  while ((descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0) {
    struct stat status {};
    const bool waits = errno == ENXIO && ::stat(path_.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    if (errno != EINTR && !waits) fail_to("cannot be opened for writing");
    wait_for({-1, 0, 0});
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail_to(const char* what) const {
  const auto why = reason();
  fail("{}: {}: {}", path_ == target_ || temporary_.empty() ? path_ : path_ + " -> " + target_, what, why);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(descriptor_, bytes.data(), std::min(bytes.size(), chunk));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) {
      wait_for({descriptor_, POLLOUT, 0});
      continue;
    }
    if (wrote <= 0) fail_to("cannot be written");
    bytes = bytes.subspan(static_cast<size_t>(wrote));
    written_ += static_cast<uint64_t>(wrote);
  }
}

void AtomicFile::commit() {
  const bool through = temporary_.empty();
  // Devices, pipes and sockets have nothing to flush.
  if (::fsync(descriptor_) != 0 && !(through && (errno == EINVAL || errno == EROFS || errno == ENOTSUP)))
    fail_to("cannot be flushed to the disk");
  if (!through && ::rename(temporary_.c_str(), target_.c_str()) != 0) fail_to("cannot be renamed into place");
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail_to("cannot be written");
  if (through) return;
  const auto folder = std::filesystem::path(target_).parent_path();
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

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace hpm
