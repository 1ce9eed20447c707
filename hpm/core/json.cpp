#include <nlohmann/json.hpp>
#include <optional>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"

namespace hpm {
namespace {

/// Where the bracket stands that opens one level too many, outside of strings. A text that is no JSON may be counted
/// wrongly; the parser, which does not recurse, refuses it in any case.
std::optional<size_t> too_deep_at(std::string_view text) {
  int level = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;  // the next character is escaped
    else if (c == '"') in_string = !in_string;
    else if (in_string) continue;
    else if (c == '[' || c == '{') ++level;
    else if (c == ']' || c == '}') --level;
    if (level > kMostJsonLevels) return i;
  }
  return std::nullopt;
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  if (const auto at = too_deep_at(text))
    fail("{}: needs JSON of at most {} levels, but goes deeper at byte {}; no file of hpm does", where, kMostJsonLevels,
         *at);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: is not JSON ({})", where, printable(error.what()));
  }
}

nlohmann::json parse_json_object(std::string_view text, const std::string& where) {
  auto json = parse_json(text, where);
  if (!json.is_object()) fail("{}: needs a JSON object, but holds {}", where, json.type_name());
  return json;
}

}  // namespace hpm
