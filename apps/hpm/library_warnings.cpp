#include "library_warnings.h"

#include <fmt/format.h>

#include "standard_streams.h"

namespace hpm::app {
namespace {

/// One line, of at most 300 characters: some warnings are pages.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  while (text.ends_with(' ')) text.pop_back();
  if (text.size() > 300) text = text.substr(0, 300) + "...";
  return text;
}

}  // namespace

LibraryWarnings::LibraryWarnings() : before_(c10::WarningUtils::get_warning_handler()) {
  c10::WarningUtils::set_warning_handler(this);
}

LibraryWarnings::~LibraryWarnings() {
  c10::WarningUtils::set_warning_handler(before_);
  for (const auto& [place, kind] : kinds_)
    if (kind.more > 0) say_error(fmt::format("warning: LibTorch: and {} more like it: {}", kind.more, kind.first));
}

void LibraryWarnings::process(const c10::Warning& warning) {
  const auto& place = warning.source_location();
  const auto key = place.file ? fmt::format("{}:{}", place.file, place.line) : warning.msg();
  const auto [kind, is_new] = kinds_.try_emplace(key, Kind{one_line(warning.msg())});
  if (is_new) say_error("warning: LibTorch: " + kind->second.first);
  else ++kind->second.more;
}

}  // namespace hpm::app
