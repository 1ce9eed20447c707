// defines: EventFile, crc32c_of()
#pragma once
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace hpm {

/// The CRC-32C (Castagnoli) of `bytes`.
uint32_t crc32c_of(std::string_view bytes);

/// An event file of TensorBoard. Its records are those of TFRecord,
///     length (8 bytes), masked CRC-32C of the length, data, masked CRC-32C of the data,
/// and each holds one Event, a protocol buffer (tensorflow/core/util/event.proto, framework/summary.proto). Every
/// record is in the file when the call returns: a run that is killed keeps what it wrote.
class EventFile {
 public:
  /// A new file events.out.tfevents.<seconds>.<process> in `folder`. Throws Error where it cannot be written.
  explicit EventFile(const std::string& folder);
  const std::string& path() const { return path_; }

  void scalar(const std::string& tag, int64_t step, double value);
  /// `png` is the file of an image of that size.
  void image(const std::string& tag, int64_t step, int64_t width, int64_t height, int64_t channels,
             std::string_view png);
  /// The distribution of finite values in 30 buckets of equal width.
  void histogram(const std::string& tag, int64_t step, std::span<const double> values);

 private:
  void summary(const std::string& tag, int64_t step, const std::string& value);
  void record(const std::string& data);
  std::string path_;
  std::ofstream file_;
};

}  // namespace hpm
