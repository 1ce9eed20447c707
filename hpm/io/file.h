// defines: FileSource, read_file(), AtomicFile, ScratchFile, FileLock, write_file_atomically()
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "hpm/io/bytes.h"

namespace hpm {

/// A regular file, opened for reading. Throws Error for a missing file, a folder or one that must not be read.
class FileSource : public ByteSource {
 public:
  explicit FileSource(const std::string& path);
  ~FileSource() override;
  uint64_t size() const override { return size_; }

 protected:
  void read_checked(uint64_t offset, std::span<std::byte> out) const override;

 private:
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// The whole file.
Bytes read_file(const std::string& path);

/// A file that appears under its name complete or not at all: written beside it, flushed to the disk, renamed.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();  ///< without commit() the temporary file is removed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  uint64_t written() const { return written_; }  ///< bytes so far
  void commit();

 private:
  [[noreturn]] void fail_to(const char* what) const;
  std::string path_, temporary_;
  uint64_t written_ = 0;
  int descriptor_ = -1;
};

/// A file without a name, for what does not fit into memory; it is gone with the process, however that ends.
class ScratchFile {
 public:
  /// In `folder`; "" = the system's folder for temporary files. Throws Error where none can be made.
  explicit ScratchFile(const std::string& folder);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  void write(uint64_t offset, std::span<const std::byte> bytes);
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  [[noreturn]] void fail_to(const char* what) const;
  std::string folder_;
  int descriptor_ = -1;
};

/// A file that at most one process holds; the system lets it go when the process ends, however it does.
class FileLock {
 public:
  /// Makes the file where it is missing. Throws Error where another process holds it, or it cannot be made.
  explicit FileLock(std::string path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;

 private:
  int descriptor_ = -1;
};

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace hpm
