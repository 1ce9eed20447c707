#include "hpm/io/npy.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"

namespace hpm {
namespace {

constexpr std::string_view magic{"\x93NUMPY", 6};
constexpr uint64_t header_limit = 1 << 20;

// In the order of ScalarType; NumPy has no bfloat16.
constexpr std::array<std::string_view, kScalarTypes> descriptions{"|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u2",
                                                                  "<u4", "<u8", "<f2", "",    "<f4", "<f8"};

struct Header {
  std::optional<std::string> description;
  std::optional<bool> fortran;
  std::optional<std::vector<int64_t>> shape;
};

// The header is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
 public:
  HeaderParser(const ByteSource& source, std::string_view text) : source_(source), text_(text) {}

  Header parse() {
    Header out;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !out.description) out.description = peek() == '[' ? refuse_records() : quoted();
      else if (key == "fortran_order" && !out.fortran) out.fortran = boolean();
      else if (key == "shape" && !out.shape) out.shape = naturals();
      else bad("an unknown or repeated key");
      if (!accept(',') && peek() != '}') bad("no comma");
    }
    if (peek() != '\0') bad("text after the end");
    if (!out.description || !out.fortran || !out.shape) bad("no descr, fortran_order or shape");
    return out;
  }

 private:
  [[noreturn]] void bad(const char* what) const {
    source_.fail_at(10 + at_, "the header of the array has {} at \"{}\". Perhaps a corrupt file", what,
                    text_.substr(at_, 40));
  }
  std::string refuse_records() const { source_.fail_at(10, "arrays of records cannot be read"); }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) bad("something unexpected");
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') bad("no quoted text");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) bad("an unfinished text");
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    peek();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return word == "True";
    }
    bad("neither True nor False");
  }
  std::vector<int64_t> naturals() {
    std::vector<int64_t> out;
    expect('(');
    while (!accept(')')) {
      peek();
      int64_t value = -1;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) bad("no size");
      if (out.size() == 64) bad("more than 64 dimensions");
      out.push_back(value);
      at_ = static_cast<size_t>(end - text_.data());
      if (text_.substr(at_).starts_with('L')) ++at_;  // Python 2
      if (!accept(',') && peek() != ')') bad("no comma");
    }
    return out;
  }

  const ByteSource& source_;
  std::string_view text_;
  size_t at_ = 0;
};

ScalarType type_of(const ByteSource& source, std::string description) {
  if (description.size() == 3 && description[0] == '>' && description[2] != '1')
    source.fail_at(10,
                   "the array is big-endian (\"{}\"); save it again with array.astype(array.dtype.newbyteorder(\"<\"))",
                   description);
  if (description.size() == 3 && description[2] == '1') description[0] = '|';
  const auto found = std::ranges::find(descriptions, description);
  if (description.empty() || found == descriptions.end()) {
    const bool object = description.find('O') != std::string::npos;
    source.fail_at(10, "the array has the type \"{}\"{}; numbers and booleans can be read: {}",
                   description.substr(0, 40), object ? ", Python objects, which would need code to be run" : "",
                   fmt::join(descriptions, " "));
  }
  return static_cast<ScalarType>(found - descriptions.begin());
}

Header read_header(ByteReader& in) {
  if (in.left() < 10 || in.text(6) != magic) {
    refuse_foreign_content(in.source());
    in.fail("this is no .npy file: its first bytes are not \"\\x93NUMPY\"");
  }
  const auto major = in.number<uint8_t>();
  in.skip(1);
  if (major < 1 || major > 3) in.fail(".npy version {}; 1 to 3 are known", major);
  const uint64_t size = major == 1 ? in.number<uint16_t>() : in.number<uint32_t>();
  if (size > header_limit) in.fail("the header of the array claims {} bytes", size);
  const std::string text = in.text(size);
  return HeaderParser(in.source(), text).parse();
}

}  // namespace

NpyHeader read_npy_header(const ByteSource& source) {
  ByteReader in(source);
  Header header = read_header(in);
  const auto type = type_of(source, *header.description);
  const uint64_t size = saturating_product(count_of(*header.shape), item_size(type));
  if (size != in.left())
    in.fail("an array {} of {} takes {} bytes, but {} follow the header. Perhaps an incomplete download",
            text_of_shape(*header.shape), name_of(type), size, in.left());
  return {type, std::move(*header.shape), *header.fortran, in.offset()};
}

StoredTensor read_npy(const ByteSource& source) {
  auto header = read_npy_header(source);
  StoredTensor out{header.type, std::move(header.shape), source.read(header.data, source.size() - header.data)};
  if (header.fortran && out.shape.size() > 1) out.data = from_fortran(out.data, item_size(out.type), out.shape);
  return out;
}

StoredTensor read_npy(const std::string& path) { return read_npy(FileSource(path)); }

void write_npy(const std::string& path, const StoredTensor& tensor) {
  const auto description = descriptions[static_cast<size_t>(tensor.type)];
  if (description.empty()) fail("{}: NumPy has no {}; convert the tensor to float32 first", path, name_of(tensor.type));
  const std::string shape = fmt::format("({}{})", fmt::join(tensor.shape, ", "), tensor.shape.size() == 1 ? "," : "");
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}", description, shape);
  // Preamble and header together are a multiple of 64 bytes and end with a line feed.
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  if (header.size() > 65535)
    fail("{}: a tensor of {} dimensions is too long for a .npy header", path, tensor.shape.size());
  const auto size = static_cast<uint16_t>(header.size());
  AtomicFile file(path);
  file.write(magic);
  file.write(std::string_view("\x01\x00", 2));
  file.write(std::as_bytes(std::span(&size, 1)));
  file.write(header);
  file.write(tensor.data);
  file.commit();
}

}  // namespace hpm
