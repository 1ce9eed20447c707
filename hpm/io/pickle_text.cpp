// Texts of protocol 0, and names that are not UTF-8.
#include <charconv>

#include "hpm/io/pickle_impl.h"

namespace hpm {
namespace {

void append_utf8(std::string& out, uint32_t c) {
  const auto byte = [&](uint32_t value) { out += static_cast<char>(value); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) return byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F));
  if (c < 0x10000) return byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
}

/// The number of `digits` digits of `base` at the beginning of `text`, which they are taken from.
std::optional<uint32_t> take_number(std::string_view& text, size_t digits, int base) {
  uint32_t value = 0;
  if (text.size() < digits) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value, base);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

}  // namespace

// raw-unicode-escape: latin1, and \uXXXX or \UXXXXXXXX for what it has not.
std::optional<std::string> unescaped_unicode(std::string_view line) {
  std::string out;
  while (!line.empty()) {
    const auto c = static_cast<unsigned char>(line.front());
    line.remove_prefix(1);
    const bool escape = c == '\\' && (line.starts_with('u') || line.starts_with('U'));
    if (!escape) {
      append_utf8(out, c);
      continue;
    }
    const size_t digits = line.front() == 'u' ? 4 : 8;
    line.remove_prefix(1);
    const auto value = take_number(line, digits, 16);
    if (!value || *value > 0x10FFFF) return std::nullopt;
    append_utf8(out, *value);
  }
  return with_surrogates_escaped(std::move(out));
}

// Python 2's repr() of a str.
std::optional<std::string> unescaped_string(std::string_view line) {
  constexpr std::string_view names = "\\'\"abfnrtv", values = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  while (!line.empty()) {
    const char c = line.front();
    line.remove_prefix(1);
    if (c != '\\') {
      out += c;
      continue;
    }
    if (line.empty()) return std::nullopt;
    const char kind = line.front();
    if (const size_t known = names.find(kind); known != std::string_view::npos) {
      line.remove_prefix(1);
      out += values[known];
      continue;
    }
    if (kind == 'x') line.remove_prefix(1);
    const auto value = kind == 'x' ? take_number(line, 2, 16) : take_number(line, 3, 8);
    if (!value || *value > 0xFF) return std::nullopt;
    out += static_cast<char>(*value);
  }
  return out;
}

std::string with_surrogates_escaped(std::string text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u; };
    if (byte(i) == 0xED && byte(i + 1) >= 0xA0 && byte(i + 1) < 0xC0 && (byte(i + 2) & 0xC0u) == 0x80) {
      out += fmt::format("\\ud{:03x}", (byte(i + 1) & 0x3Fu) << 6 | (byte(i + 2) & 0x3Fu));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace hpm
