// defines: Bytes, ByteSource, MemorySource, BytesSource, ByteReader
#pragma once
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "hpm/core/error.h"
#include "hpm/core/text.h"

namespace hpm {

static_assert(std::endian::native == std::endian::little, "the file formats are read on little-endian machines only");

/// A block of memory, aligned to 64 bytes and not cleared when it is made (a vector would write every byte twice).
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(uint64_t size);  ///< uninitialised; throws Error when the memory cannot be had
  explicit Bytes(std::span<const std::byte> copied);
  Bytes(const Bytes& other) : Bytes(std::span<const std::byte>(other.data(), other.size())) {}
  Bytes(Bytes&& other) noexcept : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  Bytes& operator=(Bytes other) noexcept {
    data_.swap(other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::byte* begin() { return data(); }
  std::byte* end() { return data() + size_; }
  const std::byte* begin() const { return data(); }
  const std::byte* end() const { return data() + size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data()), size_}; }
  friend bool operator==(const Bytes& a, const Bytes& b) { return a.text() == b.text(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte[], Free> data_;
  size_t size_ = 0;
};

/// a * b and a + b, or the largest number where these overflow. Sizes read from files are compared with a bound
/// afterwards.
inline uint64_t saturating_product(uint64_t a, uint64_t b) {
  uint64_t out;
  return __builtin_mul_overflow(a, b, &out) ? std::numeric_limits<uint64_t>::max() : out;
}
inline uint64_t saturating_sum(uint64_t a, uint64_t b) {
  uint64_t out;
  return __builtin_add_overflow(a, b, &out) ? std::numeric_limits<uint64_t>::max() : out;
}

/// Bytes with a name for messages and random access: a file, or memory.
class ByteSource {
 public:
  explicit ByteSource(std::string name) : name_(std::move(name)) {}
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  const std::string& name() const { return name_; }
  virtual uint64_t size() const = 0;
  /// Fills `out` from `offset` on. Throws Error when the source ends before.
  void read(uint64_t offset, std::span<std::byte> out) const;
  Bytes read(uint64_t offset, uint64_t count) const;
  /// Throws Error "<name>: <text> (at byte <offset>)".
  template <class... A>
  [[noreturn]] void fail_at(uint64_t offset, fmt::format_string<A...> format, A&&... arguments) const {
    fail("{}: {} (at byte {})", name_, printable(fmt::format(format, std::forward<A>(arguments)...)), offset);
  }

 protected:
  virtual void read_checked(uint64_t offset, std::span<std::byte> out) const = 0;

 private:
  void check(uint64_t offset, uint64_t count) const;
  std::string name_;
};

/// Memory that belongs to somebody else.
class MemorySource : public ByteSource {
 public:
  MemorySource(std::string name, std::span<const std::byte> bytes) : ByteSource(std::move(name)), bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }

 protected:
  void read_checked(uint64_t offset, std::span<std::byte> out) const override;

 private:
  std::span<const std::byte> bytes_;
};

/// Memory that the source owns.
class BytesSource : public ByteSource {
 public:
  BytesSource(std::string name, Bytes bytes) : ByteSource(std::move(name)), bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }

 protected:
  void read_checked(uint64_t offset, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
  }

 private:
  Bytes bytes_;
};

/// Reads a source from front to back, in little-endian order, through a window; never beyond its end.
class ByteReader {
 public:
  explicit ByteReader(const ByteSource& source, uint64_t begin = 0, uint64_t window = 1 << 16)
      : source_(source), wanted_window_(window), window_begin_(begin) {}

  uint64_t offset() const { return window_begin_ + position_; }
  uint64_t left() const { return source_.size() - offset(); }
  const ByteSource& source() const { return source_; }
  /// The next `count` bytes; valid until the next call.
  std::span<const std::byte> take(uint64_t count) {
    if (count > window_size_ - position_) refill(count);
    position_ += count;
    return {window_.data() + position_ - count, count};
  }
  void skip(uint64_t count);
  std::string text(uint64_t count);
  /// The text before the next line feed, which is skipped; at most `limit` characters.
  std::string line(size_t limit);
  template <std::integral T>
  T number() {
    T out;
    std::memcpy(&out, take(sizeof(T)).data(), sizeof(T));
    return out;
  }
  template <class... A>
  [[noreturn]] void fail(fmt::format_string<A...> format, A&&... arguments) const {
    source_.fail_at(offset(), format, std::forward<A>(arguments)...);
  }

 private:
  void refill(uint64_t count);
  const ByteSource& source_;
  Bytes window_;
  uint64_t wanted_window_, window_begin_, window_size_ = 0, position_ = 0;
};

}  // namespace hpm
