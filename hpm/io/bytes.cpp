#include "hpm/io/bytes.h"

#include <algorithm>

namespace hpm {

Bytes::Bytes(uint64_t size) : size_(size) {
  if (size == 0) return;
  constexpr uint64_t alignment = 64, limit = uint64_t{1} << 40;
  if (size <= limit)
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)));
  if (!data_) fail("out of memory: {} bytes were needed at once", size);
}

Bytes::Bytes(std::span<const std::byte> copied) : Bytes(copied.size()) {
  if (!copied.empty()) std::memcpy(data(), copied.data(), copied.size());
}

void ByteSource::check(uint64_t offset, uint64_t count) const {
  if (offset > size() || count > size() - offset)
    fail_at(offset,
            "{} bytes are needed here but the file ends at {}. Perhaps an incomplete download or a corrupt file; "
            "fetch it again",
            count, size());
}

void ByteSource::read(uint64_t offset, std::span<std::byte> out) const {
  check(offset, out.size());
  if (!out.empty()) read_checked(offset, out);
}

Bytes ByteSource::read(uint64_t offset, uint64_t count) const {
  check(offset, count);  // before the memory is taken
  Bytes out(count);
  if (count > 0) read_checked(offset, out);
  return out;
}

void MemorySource::read_checked(uint64_t offset, std::span<std::byte> out) const {
  std::memcpy(out.data(), bytes_.data() + offset, out.size());
}

void ByteReader::refill(uint64_t count) {
  const uint64_t here = offset();
  const uint64_t available = here > source_.size() ? 0 : source_.size() - here;
  const uint64_t wanted = std::max(count, std::min(wanted_window_, available));
  Bytes next = source_.read(here, wanted);
  window_ = std::move(next);
  window_begin_ = here;
  window_size_ = wanted;
  position_ = 0;
}

void ByteReader::skip(uint64_t count) {
  if (count > left()) fail("{} bytes should follow but the file ends at {}", count, source_.size());
  window_begin_ = offset() + count;
  window_size_ = position_ = 0;
}

std::string ByteReader::text(uint64_t count) {
  const auto bytes = take(count);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string ByteReader::line(size_t limit) {
  std::string out;
  for (char c; (c = number<char>()) != '\n'; out += c)
    if (out.size() >= limit) fail("a line of text is longer than {} characters", limit);
  return out;
}

}  // namespace hpm
