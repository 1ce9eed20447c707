// defines: json_text(), parse_json(), parse_json_object()
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "hpm/core/text.h"

namespace hpm {

/// Levels of lists and objects in a file. What walks a document by recursion (json_text among others) needs a bound on
/// its depth, or a file of brackets ends the process.
inline constexpr int kMostJsonLevels = 64;

/// The one way to read the JSON of a file, which may be a stranger's. Throws Error that names `where` for a text that
/// is not JSON or has more levels.
nlohmann::json parse_json(std::string_view text, const std::string& where);
/// The same for a text that needs to be an object.
nlohmann::json parse_json_object(std::string_view text, const std::string& where);

/// Whether every string and key of a document is UTF-8.
template <class Json>
bool is_utf8_json(const Json& json) {
  if (json.is_string()) return is_utf8(json.template get_ref<const std::string&>());
  if (!json.is_structured()) return true;
  for (const auto& [key, value] : json.items())
    if ((json.is_object() && !is_utf8(key)) || !is_utf8_json(value)) return false;
  return true;
}

/// The document with every string and key as printable_utf8 shows it.
template <class Json>
Json printable_json(const Json& json) {
  if (json.is_string()) return printable_utf8(json.template get_ref<const std::string&>());
  if (!json.is_structured()) return json;
  Json out = json.is_array() ? Json::array() : Json::object();
  for (const auto& [key, value] : json.items()) {
    if (json.is_array()) out.push_back(printable_json(value));
    else out[printable_utf8(key)] = printable_json(value);
  }
  return out;
}

/// The one way to write JSON. A file name may hold any bytes, and dump() throws at the first that is not UTF-8: here
/// such bytes are escaped as printable_utf8 does.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return is_utf8_json(json) ? json.dump(indent) : printable_json(json).dump(indent);
}

}  // namespace hpm
