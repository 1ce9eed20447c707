// defines: FileSource, read_file(), AtomicFile, ScratchFile, write_file_atomically(), is_replaceable()
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

/// The first `bytes` bytes of a regular file, or fewer where it ends; "" where it cannot be read.
std::string beginning_of_file(const std::string& path, size_t bytes);

/// Whether writing to `path` takes nothing from anybody: there is no file, it is empty, or it is a character device or
/// a FIFO. Symbolic links stand for what they point to.
bool is_replaceable(const std::string& path);

/// Whether writing to `path` puts a regular file there. False for devices, FIFOs and descriptors such as /dev/stdout.
bool becomes_a_file(const std::string& path);

/// A file that appears under its name complete or not at all: written beside it, flushed to the disk, renamed. Where
/// `path` is a symbolic link, the link stays and the file that it points to is written so. What is no regular file (a
/// device, a FIFO, a descriptor such as /dev/stdout) is never replaced: the bytes go through it as they come.
class AtomicFile {
 public:
  /// Waits for a reader where `path` is a FIFO. Throws Error for a folder, or where nothing can be written.
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
  void open_beside(const std::string& target);
  void open_through();
  std::string path_, target_, temporary_;  ///< temporary_: empty where the bytes go through
  uint64_t written_ = 0;
  int descriptor_ = -1;
};

/// A file without a name, for what does not fit into memory. It disappears with the process, however that ends.
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

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace hpm
