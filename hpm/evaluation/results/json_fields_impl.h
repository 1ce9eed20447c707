// Reading, writing and describing structs as JSON from one list of fields: `describe(v, x)` names the members of x to a
// visitor v, which is a JsonFieldWriter, a JsonFieldReader or a JsonFieldSchema.
// defines: JsonFieldWriter, JsonFieldReader, JsonFieldSchema
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/results/statistics.h"

namespace hpm {

/// Members that hold JSON of their own as text.
struct JsonText {
  std::string& text;
};

// How a visitor is told of a member; `about` is for the schema alone.
//   need(name, x, about)      there must be one
//   keep(name, x, about)      written whatever it holds; may be missing in files of other versions
//   nullable(name, x, about)  written as null where x is empty
//   optional(name, x, about)  left out where x is empty
//   sometimes(name, x, about)  as keep, but the caller leaves it out at times
// Empty: a text or list without content, an optional without value, false.

inline bool is_empty(const std::string& x) { return x.empty(); }
inline bool is_empty(bool x) { return !x; }
inline bool is_empty(double) { return false; }
inline bool is_empty(int64_t) { return false; }
inline bool is_empty(uint64_t) { return false; }
inline bool is_empty(const JsonText& x) { return x.text.empty(); }
template <class T>
bool is_empty(const std::vector<T>& x) {
  return x.empty();
}
template <class T>
bool is_empty(const std::optional<T>& x) {
  return !x.has_value();
}
template <class T>
requires std::is_class_v<T>
bool is_empty(const T&) { return false; }

class JsonFieldWriter {
 public:
  using Json = nlohmann::ordered_json;
  static constexpr bool writes = true;

  template <class T>
  void need(const char* name, const T& x, const char* = "") {
    json[name] = value(x);
  }
  template <class T>
  void keep(const char* name, const T& x, const char* = "") {
    json[name] = value(x);
  }
  template <class T>
  void nullable(const char* name, const T& x, const char* = "") {
    json[name] = is_empty(x) ? Json() : value(x);
  }
  template <class T>
  void optional(const char* name, const T& x, const char* = "") {
    if (!is_empty(x)) json[name] = value(x);
  }
  template <class T>
  void sometimes(const char* name, const T& x, const char* = "") {
    json[name] = value(x);
  }

  Json json = Json::object();

 private:
  static Json value(const JsonText& x) { return x.text.empty() ? Json() : Json::parse(x.text); }
  static Json value(const ConfidenceInterval& x) { return {x.low, x.high}; }
  template <class T>
  static Json value(const std::optional<T>& x) {
    return x ? value(*x) : Json();
  }
  template <class T>
  static Json value(const std::vector<T>& x) {
    Json list = Json::array();
    for (const auto& element : x) list.push_back(value(element));
    return list;
  }
  template <class T>
  static Json value(const T& x) {
    if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      return x;
    } else {
      JsonFieldWriter inner;
      describe(inner, const_cast<T&>(x));  // a writer changes nothing
      return std::move(inner.json);
    }
  }
};

/// Absent and null are the same; a wrong type is an Error that names the place.
class JsonFieldReader {
 public:
  using Json = nlohmann::json;
  static constexpr bool writes = false;

  JsonFieldReader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("{}: needs a JSON object, but holds {}", where_, json.type_name());
  }

  template <class T>
  void need(const char* name, T&& x, const char* = "") {
    if (!find(name)) fail("{}: needs \"{}\"; was the run finished?", where_, name);
    keep(name, x);
  }
  template <class T>
  void keep(const char* name, T&& x, const char* = "") {
    if (const auto* found = find(name)) convert(*found, name, x, fmt::format("{}: {}", where_, name));
  }
  template <class T>
  void nullable(const char* name, T&& x, const char* = "") {
    keep(name, x);
  }
  template <class T>
  void optional(const char* name, T&& x, const char* = "") {
    keep(name, x);
  }
  template <class T>
  void sometimes(const char* name, T&& x, const char* = "") {
    keep(name, x);
  }

 private:
  // Counts are added up, over a run's attacks and over merged runs: so far below what 64 bits hold.
  static constexpr int64_t kMost = 1'000'000'000'000'000;

  const Json* find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void wrong(const char* name, const char* needed) const {
    fail("{}: \"{}\" needs {}, but holds {}", where_, name, needed, json_text(json_.at(name)).substr(0, 40));
  }

  // `place`: of nested objects, for their messages.
  void convert(const Json& v, const char* name, std::string& out, const std::string&) const {
    if (!v.is_string()) wrong(name, "a string");
    out = v.get<std::string>();
  }
  void convert(const Json& v, const char* name, bool& out, const std::string&) const {
    if (!v.is_boolean()) wrong(name, "true or false");
    out = v.get<bool>();
  }
  void convert(const Json& v, const char* name, double& out, const std::string&) const {
    if (!v.is_number()) wrong(name, "a number");
    out = v.get<double>();
  }
  void convert(const Json& v, const char* name, int64_t& out, const std::string&) const {
    if (!v.is_number_integer()) wrong(name, "an integer");
    out = v.get<int64_t>();
    const bool wraps = v.is_number_unsigned() && v.get<uint64_t>() > uint64_t{kMost};
    if (wraps || out < -kMost || out > kMost) wrong(name, "an integer from -10^15 to 10^15");
  }
  void convert(const Json& v, const char* name, uint64_t& out, const std::string&) const {
    if (!v.is_number_integer() || (!v.is_number_unsigned() && v.get<int64_t>() < 0)) wrong(name, "an integer from 0");
    out = v.get<uint64_t>();
  }
  void convert(const Json& v, const char* name, int& out, const std::string&) const {
    if (!v.is_number_integer() || v.get<int64_t>() < 0 || v.get<int64_t>() > 1) wrong(name, "flags of 0 and 1");
    out = v.get<int>();
  }
  void convert(const Json& v, const char* name, ConfidenceInterval& out, const std::string&) const {
    if (!v.is_array() || v.size() != 2 || !v[0].is_number() || !v[1].is_number()) wrong(name, "a list of two numbers");
    out = {v[0].get<double>(), v[1].get<double>()};
  }
  void convert(const Json& v, const char*, JsonText& out, const std::string&) const { out.text = json_text(v); }
  template <class T>
  void convert(const Json& v, const char* name, std::optional<T>& out, const std::string& place) const {
    convert(v, name, out.emplace(), place);
  }
  template <class T>
  void convert(const Json& v, const char* name, std::vector<T>& out, const std::string& place) const {
    if (!v.is_array()) wrong(name, "a list");
    out.resize(v.size());
    for (size_t i = 0; i < v.size(); ++i) convert(v[i], name, out[i], fmt::format("{}[{}]", place, i));
  }
  template <class T>
  requires std::is_class_v<T>
  void convert(const Json& v, const char*, T& out, const std::string& place) const {
    JsonFieldReader inner(v, place);
    describe(inner, out);
  }

  const Json& json_;
  std::string where_;
};

/// The JSON Schema of what a JsonFieldWriter writes.
class JsonFieldSchema {
 public:
  using Json = nlohmann::ordered_json;
  static constexpr bool writes = false;

  template <class T>
  void need(const char* name, const T& x, const char* about = "") {
    add(name, type_of(x), about, true);
  }
  template <class T>
  void keep(const char* name, const T& x, const char* about = "") {
    add(name, type_of(x), about, true);
  }
  template <class T>
  void nullable(const char* name, const T& x, const char* about = "") {
    auto type = type_of(x);
    if (!type["type"].is_array()) type["type"] = {type["type"], "null"};
    add(name, type, about, true);
  }
  template <class T>
  void optional(const char* name, const T& x, const char* about = "") {
    add(name, type_of(x), about, false);
  }
  template <class T>
  void sometimes(const char* name, const T& x, const char* about = "") {
    add(name, type_of(x), about, false);
  }

  /// The schema of an object of this type.
  template <class T>
  static Json of() {
    JsonFieldSchema schema;
    T example{};
    describe(schema, example);
    Json json{{"type", "object"}, {"properties", std::move(schema.properties_)}};
    if (!schema.required_.empty()) json["required"] = std::move(schema.required_);
    return json;
  }

 private:
  void add(const char* name, Json type, const char* about, bool required) {
    if (*about) type["description"] = about;
    properties_[name] = std::move(type);
    if (required) required_.push_back(name);
  }

  static Json type_of(const std::string&) { return {{"type", "string"}}; }
  static Json type_of(bool) { return {{"type", "boolean"}}; }
  static Json type_of(double) { return {{"type", "number"}}; }
  static Json type_of(int64_t) { return {{"type", "integer"}}; }
  static Json type_of(uint64_t) { return {{"type", "integer"}, {"minimum", 0}}; }
  static Json type_of(int) { return {{"type", "integer"}, {"minimum", 0}, {"maximum", 1}}; }
  static Json type_of(const JsonText&) { return {{"type", "object"}}; }
  static Json type_of(const ConfidenceInterval&) {
    return {{"type", "array"}, {"items", {{"type", "number"}}}, {"minItems", 2}, {"maxItems", 2}};
  }
  template <class T>
  static Json type_of(const std::optional<T>&) {
    auto type = type_of(T{});
    type["type"] = {type["type"], "null"};
    return type;
  }
  template <class T>
  static Json type_of(const std::vector<T>&) {
    return {{"type", "array"}, {"items", type_of(T{})}};
  }
  template <class T>
  requires std::is_class_v<T>
  static Json type_of(const T&) { return of<T>(); }

  Json properties_ = Json::object(), required_ = Json::array();
};

}  // namespace hpm
