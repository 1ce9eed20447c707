#include "hpm/io/foreign_content.h"

#include <algorithm>
#include <array>

namespace hpm {
namespace {

constexpr uint64_t head_size = 1024;

/// The text behind `label` up to the end of its line; "" where the label is absent.
std::string_view value_of(std::string_view text, std::string_view label) {
  const size_t at = text.find(label);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + label.size());
  return text.substr(0, std::min(text.find_first_of("\r\n"), size_t{100}));
}

/// "19332096" -> " of 19332096 bytes"
std::string of_bytes(std::string_view digits) {
  const bool number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos;
  return number ? fmt::format(" of {} bytes", digits) : std::string();
}

/// The first words of a text without its markup.
std::string words_of(std::string_view text) {
  std::string out;
  bool markup = false;
  for (const char c : text) {
    if (c == '<') markup = true;
    const bool blank = static_cast<unsigned char>(c) <= ' ' || markup;
    if (!blank) out += c;
    else if (!out.empty() && out.back() != ' ') out += ' ';
    if (c == '>') markup = false;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  if (out.size() > 120) out = out.substr(0, 120) + "...";
  return out.empty() ? std::string() : fmt::format(" (\"{}\")", out);
}

std::string pointer(std::string_view text) {
  if (text.starts_with("version https://git-lfs.github.com/spec/") ||
      text.starts_with("version https://hawser.github.com/spec/"))
    return fmt::format(
        "this is a Git LFS pointer, which stands for a file{}: fetch that with `git lfs pull` in its repository (after "
        "`git lfs install`)",
        of_bytes(value_of(text, "\nsize ")));
  if (text.starts_with("/annex/objects/") || text.starts_with("../.git/annex/objects/") ||
      text.starts_with(".git/annex/objects/")) {
    // Keys tell the size: SHA256E-s19332096--0d0d...
    const auto size = value_of(text, "-s");
    return fmt::format(
        "this is a git-annex pointer, which stands for a file{}: fetch that with `git annex get FILE` in its "
        "repository",
        of_bytes(size.substr(0, size.find('-'))));
  }
  if (text.starts_with("outs:") && text.find("path:") != std::string_view::npos)
    return "this is a DVC pointer, which stands for a file: fetch that with `dvc pull` in its repository";
  return {};
}

bool starts_with_any_case(std::string_view text, std::string_view lower) {
  return text.size() >= lower.size() && std::ranges::equal(text.substr(0, lower.size()), lower, [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b;
         });
}

std::string answer_of_a_server(std::string_view text) {
  for (const std::string_view begin : {"<!doctype html", "<html", "<head", "<script", "<!--"})
    if (starts_with_any_case(text, begin))
      return fmt::format(
          "this is a web page{}, saved in place of the file; download the file itself (its \"raw\" or direct link)",
          words_of(text));
  if (starts_with_any_case(text, "<?xml"))
    return fmt::format(
        "this is an XML text{}, often a server's refusal, saved in place of the file; download the file again",
        words_of(text));
  if (text.starts_with('{') && text.find('"') < 8 && text.find(':') != std::string_view::npos)
    return fmt::format(
        "this is a JSON text{}, often a server's refusal, saved in place of the file; download the file again",
        words_of(text));
  return {};
}

struct Packed {
  std::string_view magic, name, command;
};
constexpr std::array<Packed, 5> packed_files{{{"\x1F\x8B", "gzip", "gunzip"},
                                              {"BZh", "bzip2", "bunzip2"},
                                              {"\xFD"
                                               "7zXZ",
                                               "xz", "unxz"},
                                              {"7z\xBC\xAF", "7-Zip", "7z x"},
                                              {"Rar!", "RAR", "unrar x"}}};

}  // namespace

std::string foreign_content(const ByteSource& source, bool packed) {
  if (source.size() == 0) return "the file is empty; perhaps a download that failed";
  const Bytes head = source.read(0, std::min(source.size(), head_size));
  std::string_view text = head.text();
  for (const auto& [magic, name, command] : packed_files)
    if (!packed && text.starts_with(magic))
      return fmt::format("this is a {} file; unpack it first (`{}`)", name, command);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (auto found = pointer(text); !found.empty()) return found;
  return answer_of_a_server(text);
}

void refuse_foreign_content(const ByteSource& source, bool packed) {
  if (const auto found = foreign_content(source, packed); !found.empty()) source.fail_at(0, "{}", found);
}

}  // namespace hpm
