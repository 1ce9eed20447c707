#include "hpm/io/mat.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>

#include "hpm/io/foreign_content.h"

namespace hpm {
namespace {

// Numbers of the format (tables 1-1 and 1-3 of its description).
enum Element : uint32_t { kInt8 = 1, kInt32 = 5, kUint32 = 6, kMatrix = 14, kCompressed = 15 };
constexpr uint64_t kHeader = 128, kMostDimensions = 16, kLongestName = 1000;

/// How an element's numbers are stored; no type for those that ScalarType lacks.
struct Stored {
  uint32_t element;
  uint64_t size;
};
constexpr std::array<Stored, 10> kStored{
    {{1, 1}, {2, 1}, {3, 2}, {4, 2}, {5, 4}, {6, 4}, {7, 4}, {9, 8}, {12, 8}, {13, 8}}};

struct Class {
  uint32_t number, element;
  ScalarType type;
};
constexpr std::array<Class, 7> kClasses{{{6, 9, ScalarType::float64},
                                         {7, 7, ScalarType::float32},
                                         {8, 1, ScalarType::int8},
                                         {9, 2, ScalarType::uint8},
                                         {10, 3, ScalarType::int16},
                                         {12, 5, ScalarType::int32},
                                         {14, 12, ScalarType::int64}}};

/// The bytes of an array's element from front to back, as they lie in the file or decompressed.
class Stream {
 public:
  Stream(const ByteSource& source, uint64_t begin, uint64_t size, bool compressed)
      : source_(source),
        at_(begin),
        end_(begin + size),
        most_(compressed ? size * 1040 + 4096 : size),
        compressed_(compressed) {
    if (compressed_ && inflateInit(&inflater_) != Z_OK) fail("zlib cannot start");
  }
  ~Stream() {
    if (compressed_) inflateEnd(&inflater_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void read(std::span<std::byte> out) {
    if (!compressed_) {
      if (out.size() > end_ - at_) fail_here("an array ends early");
      source_.read(at_, out);
      at_ += out.size();
      return;
    }
    inflater_.next_out = reinterpret_cast<Bytef*>(out.data());
    for (uint64_t left = out.size(); left > 0;) {
      const auto room = static_cast<uInt>(std::min<uint64_t>(left, 1u << 30));
      inflater_.avail_out = room;
      refill();
      const int status = inflate(&inflater_, Z_NO_FLUSH);
      left -= room - inflater_.avail_out;
      if (left > 0 && status != Z_OK)
        fail_here("a compressed array ends early or is corrupt ({})", inflater_.msg ? inflater_.msg : "no more data");
    }
  }
  /// Whether so many bytes can come at all: zlib makes at most 1032 of one.
  bool can_give(uint64_t count) const { return count <= most_; }
  template <class T>
  T number() {
    T value;
    read(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void skip(uint64_t count) {
    std::array<std::byte, 4096> sink;
    for (; count > 0; count -= std::min<uint64_t>(count, sink.size()))
      read(std::span(sink).first(std::min<uint64_t>(count, sink.size())));
  }
  template <class... A>
  [[noreturn]] void fail_here(fmt::format_string<A...> format, A&&... arguments) const {
    source_.fail_at(at_, "{}; the file is truncated or corrupt, get it anew",
                    fmt::format(format, std::forward<A>(arguments)...));
  }

 private:
  void refill() {
    if (inflater_.avail_in > 0) return;
    input_ = source_.read(at_, std::min<uint64_t>(end_ - at_, 1 << 16));
    at_ += input_.size();
    inflater_.next_in = reinterpret_cast<Bytef*>(input_.data());
    inflater_.avail_in = static_cast<uInt>(input_.size());
  }

  const ByteSource& source_;
  uint64_t at_, end_, most_;
  bool compressed_;
  z_stream inflater_{};
  Bytes input_;
};

/// Type and size of an element. A small one has both in four bytes, and its data in the next four.
struct Tag {
  uint32_t element;
  uint64_t size, padding;
};

Tag read_tag(Stream& in) {
  const auto first = in.number<uint32_t>();
  if (first >> 16) {
    const uint64_t size = first >> 16;
    if (size > 4) in.fail_here("a small element has {} bytes", size);
    return {first & 0xFFFF, size, 4 - size};
  }
  const auto size = in.number<uint32_t>();
  return {first, size, (8 - size % 8) % 8};
}

/// What stands before an array's numbers.
struct Header {
  uint32_t number = 0;  // of its class
  bool complex = false;
  std::vector<int64_t> shape;  // in reverse
  std::string name;
};

Header read_header(Stream& in) {
  Header out;
  const Tag flags = read_tag(in);
  if (flags.element != kUint32 || flags.size != 8) in.fail_here("an array begins without its flags");
  const auto word = in.number<uint32_t>();
  in.skip(4);
  out.number = word & 0xFF, out.complex = word & 0x0800;
  const Tag dimensions = read_tag(in);
  const uint64_t rank = dimensions.size / 4;
  if (dimensions.element != kInt32 || dimensions.size % 4 || rank < 1 || rank > kMostDimensions)
    in.fail_here("an array has {} bytes of dimensions", dimensions.size);
  for (uint64_t d = 0; d < rank; ++d) {
    const auto side = in.number<int32_t>();
    if (side < 0) in.fail_here("an array has a side of {}", side);
    out.shape.insert(out.shape.begin(), side);
  }
  in.skip(dimensions.padding);
  const Tag name = read_tag(in);
  if (name.element != kInt8 || name.size > kLongestName) in.fail_here("an array has a name of {} bytes", name.size);
  out.name.resize(name.size);
  in.read(std::as_writable_bytes(std::span(out.name)));
  in.skip(name.padding);
  return out;
}

template <class To, class From>
void convert_from(std::span<const std::byte> bytes, std::span<std::byte> out) {
  for (size_t i = 0; i < out.size() / sizeof(To); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof value);
    const To converted = static_cast<To>(value);
    std::memcpy(out.data() + i * sizeof(To), &converted, sizeof converted);
  }
}

/// Numbers that MATLAB has stored in a narrower integer type than their class.
template <class To>
bool convert(uint32_t element, std::span<const std::byte> bytes, std::span<std::byte> out) {
  switch (element) {
    case 1: return convert_from<To, int8_t>(bytes, out), true;
    case 2: return convert_from<To, uint8_t>(bytes, out), true;
    case 3: return convert_from<To, int16_t>(bytes, out), true;
    case 4: return convert_from<To, uint16_t>(bytes, out), true;
    case 5: return convert_from<To, int32_t>(bytes, out), true;
    default: return false;
  }
}

bool widen(ScalarType type, uint32_t element, std::span<const std::byte> bytes, std::span<std::byte> out) {
  switch (type) {
    case ScalarType::float64: return convert<double>(element, bytes, out);
    case ScalarType::float32: return convert<float>(element, bytes, out);
    case ScalarType::int64: return convert<int64_t>(element, bytes, out);
    case ScalarType::int32: return element < 5 && convert<int32_t>(element, bytes, out);
    case ScalarType::int16: return element < 3 && convert<int16_t>(element, bytes, out);
    default: return false;
  }
}

StoredTensor read_numbers(Stream& in, const Header& header, uint64_t limit) {
  const auto kind = std::ranges::find(kClasses, header.number, &Class::number);
  if (kind == kClasses.end() || header.complex)
    in.fail_here("the array \"{}\" is of another type than real numbers of 8 to 64 bits", header.name);
  StoredTensor out{kind->type, header.shape, {}};
  const uint64_t count = count_of(out.shape), size = saturating_product(count, item_size(out.type));
  if (size > limit)
    in.fail_here("the array \"{}\" {} takes {} bytes; at most {} are read", header.name, text_of_shape(out.shape), size,
                 limit);
  const Tag tag = read_tag(in);
  const auto stored = std::ranges::find(kStored, tag.element, &Stored::element);
  if (stored == kStored.end() || tag.size != saturating_product(count, stored->size) || !in.can_give(tag.size))
    in.fail_here("the array \"{}\" {} has {} bytes of numbers", header.name, text_of_shape(out.shape), tag.size);
  Bytes numbers(tag.size);
  in.read(numbers);
  if (tag.element == kind->element) {
    out.data = std::move(numbers);
  } else {
    out.data = Bytes(size);
    if (!widen(out.type, tag.element, numbers, out.data))
      in.fail_here("the array \"{}\" is stored in a wider type than its own", header.name);
  }
  return out;
}

void check_preamble(const ByteSource& source) {
  refuse_foreign_content(source);
  if (source.size() < kHeader) source.fail_at(source.size(), "is no MATLAB file, or an incomplete one");
  const Bytes header = source.read(0, kHeader);
  if (header.text().starts_with("MATLAB 7.3"))
    source.fail_at(0, "a MATLAB 7.3 file (HDF5); save it with version 7 to have it read");
  const auto end = header.text().substr(124);
  if (end == std::string_view("\1\0MI", 4)) source.fail_at(126, "was saved on a big-endian machine");
  if (end != std::string_view("\0\1IM", 4)) source.fail_at(124, "is no MATLAB file of version 5 to 7.2");
}

}  // namespace

NamedStoredTensors read_mat(const ByteSource& source, const std::vector<std::string>& names, uint64_t limit) {
  check_preamble(source);
  std::vector<std::optional<StoredTensor>> found(names.size());
  for (uint64_t at = kHeader; at + 8 <= source.size();) {
    ByteReader tag(source, at);
    const auto element = tag.number<uint32_t>(), size = tag.number<uint32_t>();
    const bool compressed = element == kCompressed;
    if (size > source.size() - at - 8)
      source.fail_at(at, "an array of {} bytes reaches beyond the file; it is truncated or corrupt, get it anew", size);
    if (compressed || element == kMatrix) {
      Stream in(source, at + 8, size, compressed);
      if (compressed && read_tag(in).element != kMatrix) in.fail_here("what is compressed is no array");
      const Header header = read_header(in);
      const auto place = std::ranges::find(names, header.name);
      if (place != names.end()) {
        auto& array = found[static_cast<size_t>(place - names.begin())];
        if (array) source.fail_at(at, "the array \"{}\" is there twice", header.name);
        array = read_numbers(in, header, limit);
      }
    }
    at += 8 + size + (compressed ? 0 : (8 - size % 8) % 8);
  }
  NamedStoredTensors out;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!found[i])
      source.fail_at(source.size(), "has no array \"{}\"; the file is incomplete or another one", names[i]);
    out.emplace_back(names[i], std::move(*found[i]));
  }
  return out;
}

}  // namespace hpm
