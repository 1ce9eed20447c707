// defines: is_utf8(), printable()
#pragma once
#include <string>
#include <string_view>

namespace hpm {

bool is_utf8(std::string_view text);

/// A text from a file as a message may show it: at most 1000 bytes, UTF-8, no control characters.
std::string printable(std::string text);

}  // namespace hpm
