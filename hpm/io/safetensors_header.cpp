#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "hpm/io/safetensors_impl.h"

namespace hpm {
namespace {

// In the order of ScalarType.
constexpr std::array<std::string_view, kScalarTypes> type_names{"BOOL", "U8",  "I8",  "I16",  "I32", "I64", "U16",
                                                                "U32",  "U64", "F16", "BF16", "F32", "F64"};

// Takes the header's events one by one: nothing nested deeper than the format is ever stored, and a name given twice is
// seen.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderEvents(const ByteSource& source, std::map<std::string, std::string>& metadata)
      : source_(source), metadata_(metadata) {}
  std::vector<SafetensorsField> fields;

  bool start_object(size_t) override {
    if (level_ == 0) level_ = 1;
    else if (level_ == 1 && name_ == "__metadata__") level_ = 2, in_metadata_ = true;
    else if (level_ == 1) start_field();
    else unexpected("an object");
    return true;
  }
  bool end_object() override {
    if (level_ == 2 && !in_metadata_) finish_field();
    in_metadata_ = false;
    --level_;
    return true;
  }
  bool key(std::string& text) override {
    if (level_ == 1) {
      name_ = text;
      if (!names_.insert(text).second) refuse("the name \"{}\" is there twice", text);
      return true;
    }
    if (in_metadata_ && metadata_.contains(text)) refuse("the metadata have \"{}\" twice", text);
    if (!in_metadata_ && std::ranges::find(seen_, text) != seen_.end())
      refuse("tensor \"{}\" has {} twice", name_, text);
    seen_.push_back(key_ = text);
    return true;
  }
  bool string(std::string& text) override {
    if (in_metadata_) metadata_[key_] = text;
    else if (level_ == 2 && key_ == "dtype" && !in_array_) set_type(text);
    else unexpected("a text");
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (!in_array_) unexpected("a number");
    if (value > uint64_t{1} << 58) refuse("tensor \"{}\" has the impossible size {}", name_, value);
    numbers_.push_back(value);
    return true;
  }
  bool start_array(size_t) override {
    if (level_ != 2 || in_metadata_ || in_array_ || (key_ != "shape" && key_ != "data_offsets")) unexpected("a list");
    in_array_ = true;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    auto& field = fields.back();
    if (key_ == "shape") {
      field.shape.assign(numbers_.begin(), numbers_.end());
      return true;
    }
    if (numbers_.size() != 2) refuse("tensor \"{}\" has {} data_offsets instead of 2", name_, numbers_.size());
    field.begin = numbers_[0];
    field.end = numbers_[1];
    return true;
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(int64_t) override { unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { unexpected("a fraction"); }
  bool binary(nlohmann::json::binary_t&) override { unexpected("binary data"); }
  bool parse_error(size_t position, const std::string& near, const nlohmann::json::exception&) override {
    source_.fail_at(8 + position, "the header is no JSON, at \"{}\". Perhaps a corrupt file", near.substr(0, 40));
  }

 private:
  template <class... A>
  [[noreturn]] void refuse(fmt::format_string<A...> format, A&&... arguments) const {
    source_.fail_at(8, "in the header, {}", fmt::format(format, std::forward<A>(arguments)...));
  }
  [[noreturn]] void unexpected(const char* what) const {
    refuse("{} stands where the format has none, near \"{}\" \"{}\"", what, name_.substr(0, 100), key_.substr(0, 100));
  }
  void start_field() {
    level_ = 2;
    seen_.clear();
    fields.push_back({.name = name_, .type = {}, .shape = {}});
  }
  void finish_field() const {
    for (const char* needed : {"dtype", "shape", "data_offsets"})
      if (std::ranges::find(seen_, needed) == seen_.end()) refuse("tensor \"{}\" has no {}", name_, needed);
  }
  void set_type(const std::string& text) {
    const auto found = std::ranges::find(type_names, text);
    if (found == type_names.end())
      refuse("tensor \"{}\" has the type {}; these can be read: {}", name_, text.substr(0, 40),
             fmt::join(type_names, " "));
    fields.back().type = static_cast<ScalarType>(found - type_names.begin());
  }

  const ByteSource& source_;
  std::map<std::string, std::string>& metadata_;
  std::unordered_set<std::string> names_;
  std::vector<std::string> seen_;
  std::string name_, key_;
  std::vector<uint64_t> numbers_;
  int level_ = 0;
  bool in_metadata_ = false, in_array_ = false;
};

}  // namespace

std::string_view safetensors_type_name(ScalarType type) { return type_names[static_cast<size_t>(type)]; }

std::vector<SafetensorsField> parse_safetensors_header(const ByteSource& source, std::string_view header,
                                                       std::map<std::string, std::string>& metadata) {
  if (!header.starts_with('{'))
    source.fail_at(8, "the header does not begin with \"{{\". Perhaps this is no safetensors file");
  HeaderEvents events(source, metadata);
  nlohmann::json::sax_parse(header, &events);
  return std::move(events.fields);
}

}  // namespace hpm
