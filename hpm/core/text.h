// defines: is_utf8(), printable_utf8(), printable()
#pragma once
#include <string>
#include <string_view>

namespace hpm {

bool is_utf8(std::string_view text);

/// A name that may hold any bytes (of a file, a folder, a class) as JSON, HTML and terminals can show it: valid UTF-8
/// stays as it is, each other byte becomes `\xE8`. Such a name is opened by its bytes and shown by this.
std::string printable_utf8(std::string_view text);

/// A text from a file as a message may show it: at most 1000 bytes, UTF-8, no control characters.
std::string printable(std::string text);

}  // namespace hpm
