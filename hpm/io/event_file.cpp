#include "hpm/io/event_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <vector>

#include "hpm/core/error.h"

namespace hpm {
namespace {

constexpr std::array<uint32_t, 256> castagnoli_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}
constexpr auto kTable = castagnoli_table();

/// As TFRecord stores it: the checksum of data that hold checksums would be weak.
uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// ---- protocol buffers: a field is its number and wire type, then its value ------------------------------------------

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}
std::string key(int number, int wire_type) { return varint(static_cast<uint64_t>(number << 3 | wire_type)); }
std::string field(int number, int64_t value) { return key(number, 0) + varint(static_cast<uint64_t>(value)); }
std::string field(int number, double value) { return key(number, 1) + raw(value); }
std::string field(int number, float value) { return key(number, 5) + raw(value); }
std::string field(int number, std::string_view bytes) {
  return key(number, 2) + varint(bytes.size()) + std::string(bytes);
}
/// Packed doubles.
std::string field(int number, const std::vector<double>& values) {
  std::string bytes;
  for (double v : values) bytes += raw(v);
  return field(number, std::string_view(bytes));
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

uint32_t crc32c_of(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (char c : bytes) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 255] ^ (crc >> 8);
  return ~crc;
}

EventFile::EventFile(const std::string& folder)
    : path_(fmt::format("{}/events.out.tfevents.{:.0f}.{}", folder, now(), getpid())),
      file_(path_, std::ios::binary | std::ios::app) {
  record(field(1, now()) + field(3, std::string_view("brain.Event:2")));
}

void EventFile::record(const std::string& data) {
  const auto length = raw(static_cast<uint64_t>(data.size()));
  file_ << length << raw(masked(crc32c_of(length))) << data << raw(masked(crc32c_of(data))) << std::flush;
  if (!file_) fail("{}: cannot be written", path_);
}

void EventFile::summary(const std::string& tag, int64_t step, const std::string& value) {
  const auto entry = field(1, std::string_view(tag)) + value;
  const auto all = field(1, std::string_view(entry));
  record(field(1, now()) + field(2, step) + field(5, std::string_view(all)));
}

void EventFile::scalar(const std::string& tag, int64_t step, double value) {
  summary(tag, step, field(2, static_cast<float>(value)));
}

void EventFile::image(const std::string& tag, int64_t step, int64_t width, int64_t height, int64_t channels,
                      std::string_view png) {
  const auto image = field(1, height) + field(2, width) + field(3, channels) + field(4, png);
  summary(tag, step, field(4, std::string_view(image)));
}

void EventFile::histogram(const std::string& tag, int64_t step, std::span<const double> values) {
  if (values.empty()) return;
  constexpr size_t kBuckets = 30;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double width = (*high - *low) / static_cast<double>(kBuckets);
  std::vector<double> limits, counts(kBuckets);
  for (size_t i = 1; i < kBuckets; ++i) limits.push_back(*low + width * static_cast<double>(i));
  limits.push_back(*high);
  double sum = 0, squares = 0;
  for (double v : values) {
    const auto bucket = width > 0 ? static_cast<size_t>((v - *low) / width) : 0;
    counts[std::min(bucket, kBuckets - 1)] += 1;
    sum += v, squares += v * v;
  }
  const auto histogram = field(1, *low) + field(2, *high) + field(3, static_cast<double>(values.size())) +
                         field(4, sum) + field(5, squares) + field(6, limits) + field(7, counts);
  summary(tag, step, field(5, std::string_view(histogram)));
}

}  // namespace hpm
