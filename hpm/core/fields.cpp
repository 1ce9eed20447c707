#include "hpm/core/fields.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <type_traits>
#define TOML_EXCEPTIONS 1
// toml++ checks with assert() what some broken files get to, and without it goes on into undefined behaviour: here the
// check stays, as an exception.
struct BrokenToml {};
[[noreturn]] static void throw_broken_toml() { throw BrokenToml(); }
#undef NDEBUG
#define TOML_ASSERT(condition) ((condition) ? void() : throw_broken_toml())
#include <toml++/toml.h>

#include "hpm/core/error.h"

namespace hpm {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

template <class T>
bool parse_whole(const std::string& text, T& value) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && at == end && !text.empty();
}

/// "8/255", ".5", "1e-3". False for anything else, also for infinities.
bool parse_number(const std::string& text, double& value) {
  const auto slash = text.find('/');
  if (slash == std::string::npos) return parse_whole(text, value) && std::isfinite(value);
  double top = 0, bottom = 0;
  if (!parse_whole(text.substr(0, slash), top) || !parse_whole(text.substr(slash + 1), bottom) || bottom <= 0)
    return false;
  value = top / bottom;
  return std::isfinite(value);
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts;
  if (text.empty()) return parts;
  size_t start = 0;
  for (size_t comma; (comma = text.find(',', start)) != std::string::npos; start = comma + 1)
    parts.push_back(text.substr(start, comma - start));
  parts.push_back(text.substr(start));
  return parts;
}

std::string number_text(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

class ValueParser {
 public:
  ValueParser(const Field& field, const std::string& text, const std::string& where)
      : field_(field), text_(text), where_(where) {}

  void operator()(bool* value) const {
    if (text_ != "true" && text_ != "false") wrong("true or false");
    *value = text_ == "true";
  }
  void operator()(int64_t* value) const { *value = integer<int64_t>(); }
  void operator()(uint64_t* value) const { *value = integer<uint64_t>(); }
  void operator()(double* value) const { *value = number(text_); }
  void operator()(std::string* value) const {
    const auto& choices = field_.rules.choices;
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text_) == choices.end())
      wrong(fmt::format("one of {}", fmt::join(choices, ", ")));
    if (field_.rules.radius)
      for (const auto& part : split_list(text_)) parse_radius(part, where_);
    if (field_.rules.radius && text_.empty()) wrong("a radius such as 8/255");
    *value = text_;
  }
  void operator()(std::vector<double>* value) const {
    std::vector<double> parsed;
    for (const auto& part : split_list(text_)) parsed.push_back(number(part));
    *value = std::move(parsed);
  }
  void operator()(std::vector<std::string>* value) const {
    auto parts = split_list(text_);
    for (const auto& part : parts) {
      const auto& choices = field_.rules.choices;
      if (part.empty()) wrong("names separated by commas");
      if (!choices.empty() && std::find(choices.begin(), choices.end(), part) == choices.end())
        wrong(fmt::format("names out of {}", fmt::join(choices, ", ")));
    }
    *value = std::move(parts);
  }
  void operator()(std::optional<double>* value) const {
    if (text_.empty()) value->reset();
    else *value = number(text_);
  }
  void operator()(std::optional<int64_t>* value) const {
    if (text_.empty()) value->reset();
    else *value = integer<int64_t>();
  }

 private:
  [[noreturn]] void wrong(const std::string& needed) const {
    fail_usage("{}: needs {}, but got \"{}\"", where_, needed, text_);
  }
  void check_range(double value) const {
    const auto& [min, max, choices, unit, radius] = field_.rules;
    if (value >= min && value <= max) return;
    if (std::isinf(max)) wrong(fmt::format("a value of at least {}", number_text(min)));
    wrong(fmt::format("a value from {} to {}", number_text(min), number_text(max)));
  }
  template <class T>
  T integer() const {
    T value = 0;
    if (!parse_whole(text_, value)) wrong(std::is_signed_v<T> ? "a whole number" : "a whole number of at least 0");
    check_range(static_cast<double>(value));
    return value;
  }
  double number(const std::string& text) const {
    double value = 0;
    if (!parse_number(text, value)) wrong("a number (also as a quotient, 2/255)");
    check_range(value);
    return value;
  }
  const Field& field_;
  const std::string& text_;
  const std::string& where_;
};

nlohmann::json json_value(const Field& field) {
  return std::visit(Overloaded{
                        [](const std::optional<double>* v) { return *v ? nlohmann::json(**v) : nlohmann::json(); },
                        [](const std::optional<int64_t>* v) { return *v ? nlohmann::json(**v) : nlohmann::json(); },
                        [](const auto* v) { return nlohmann::json(*v); },
                    },
                    field.member);
}

/// A TOML scalar or array as command-line text.
std::string toml_text(const toml::node& node, const std::string& where) {
  if (const auto* v = node.as_string()) return v->get();
  if (const auto* v = node.as_boolean()) return v->get() ? "true" : "false";
  if (const auto* v = node.as_integer()) return std::to_string(v->get());
  if (const auto* v = node.as_floating_point()) return number_text(v->get());
  if (const auto* array = node.as_array()) {
    std::vector<std::string> parts;
    for (const auto& element : *array) parts.push_back(toml_text(element, where));
    return fmt::format("{}", fmt::join(parts, ","));
  }
  fail_usage("{}: needs a string, number, boolean or list of them", where);
}

std::string toml_literal(const Field& field) {
  return std::visit(Overloaded{
                        [](const std::optional<double>* v) { return *v ? number_text(**v) : std::string(); },
                        [](const std::optional<int64_t>* v) { return *v ? std::to_string(**v) : std::string(); },
                        [](const double* v) { return number_text(*v); },
                        [](const std::vector<double>* v) {
                          std::vector<std::string> parts;
                          for (double d : *v) parts.push_back(number_text(d));
                          return fmt::format("[{}]", fmt::join(parts, ", "));
                        },
                        [](const auto* v) { return nlohmann::json(*v).dump(); },
                    },
                    field.member);
}

}  // namespace

double parse_radius(const std::string& text, std::string_view name) {
  double value = 0;
  if (!parse_number(text, value) || value < 0 || (text.find('/') != std::string::npos && value == 0))
    fail_usage("{}: needs a radius of at least 0 such as 8/255 or .031, but got \"{}\"", name, text);
  return value;
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = std::max<size_t>(name.size() / 2, 2) + 1;
  for (const auto& other : names) {
    std::vector<size_t> row(other.size() + 1);
    for (size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t substituted = diagonal + (name[i - 1] != other[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    if (row.back() < best_distance) best_distance = row.back(), best = other;
  }
  return best;
}

std::string Field::type_name() const {
  return std::visit(Overloaded{
                        [](const bool*) { return ""; },
                        [](const int64_t*) { return "INT"; },
                        [](const uint64_t*) { return "INT"; },
                        [](const std::optional<int64_t>*) { return "INT"; },
                        [](const double*) { return "NUMBER"; },
                        [](const std::optional<double>*) { return "NUMBER"; },
                        [](const std::vector<double>*) { return "a,b,..."; },
                        [](const std::vector<std::string>*) { return "a,b,..."; },
                        [](const std::string*) { return "TEXT"; },
                    },
                    member);
}

std::string Field::text() const {
  return std::visit(Overloaded{
                        [](const bool* v) { return std::string(*v ? "true" : "false"); },
                        [](const double* v) { return number_text(*v); },
                        [](const std::string* v) { return *v; },
                        [](const std::vector<std::string>* v) { return fmt::format("{}", fmt::join(*v, ",")); },
                        [](const std::vector<double>* v) {
                          std::vector<std::string> parts;
                          for (double d : *v) parts.push_back(number_text(d));
                          return fmt::format("{}", fmt::join(parts, ","));
                        },
                        [](const std::optional<double>* v) { return *v ? number_text(**v) : std::string(); },
                        [](const std::optional<int64_t>* v) { return *v ? std::to_string(**v) : std::string(); },
                        [](const auto* v) { return std::to_string(*v); },
                    },
                    member);
}

std::string Field::json() const { return json_value(*this).dump(); }

Fields& Fields::section(std::string name) {
  section_ = std::move(name);
  return *this;
}

void Fields::add_field(Field field) {
  for (const auto& other : fields_)
    if (other.name == field.name) throw std::logic_error("Fields: \"" + field.name + "\" is declared twice");
  field.default_text = field.text();
  fields_.push_back(std::move(field));
}

const Field* Fields::find(const std::string& name) const {
  for (const auto& field : fields_)
    if (field.name == name || field.section + "." + field.name == name) return &field;
  return nullptr;
}

bool Fields::given(const std::string& name) const {
  const Field* field = find(name);
  // A file may hold every option with its default, as the one a run writes does.
  return field &&
         (field->origin >= Origin::set || (field->origin == Origin::file && field->text() != field->default_text));
}

void Fields::set(const std::string& name, const std::string& text, Origin origin, const std::string& where) {
  auto* field = const_cast<Field*>(find(name));
  if (!field) {
    std::vector<std::string> names;
    for (const auto& known : fields_) names.push_back(known.name);
    const auto dot = name.rfind('.');
    const auto nearest = nearest_name(dot == std::string::npos ? name : name.substr(dot + 1), names);
    const Field* known = nearest.empty() ? nullptr : find(nearest);
    fail_usage("{}: unknown key \"{}\"{}", where, name,
               known ? fmt::format("; the nearest known one is \"{}\" in [{}]", known->name, known->section) : "");
  }
  if (origin < field->origin) return;
  std::visit(ValueParser(*field, text, where), field->member);
  field->origin = origin;
}

void Fields::read_toml(const std::string& path) {
  toml::table root;
  try {
    root = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    fail_usage("{}:{}: {}", path, error.source().begin.line, error.description());
  } catch (const BrokenToml&) {
    fail_usage("{}: is no TOML that can be read", path);
  }
  const auto where = [&](const toml::node& node) { return fmt::format("{}:{}", path, node.source().begin.line); };
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    const auto* table = node.as_table();
    if (!table) {
      set(name, toml_text(node, where(node)), Origin::file, where(node) + ": " + name);
      continue;
    }
    for (const auto& [inner_key, inner] : *table) {
      const std::string full = name + "." + std::string(inner_key.str());
      set(full, toml_text(inner, where(inner)), Origin::file, where(inner) + ": " + full);
    }
  }
}

std::string Fields::toml() const {
  std::string text, open;
  for (const auto& field : fields_) {
    if (field.section != open)
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", field.section), open = field.section;
    const auto literal = toml_literal(field);
    text += literal.empty() ? fmt::format("# {} =\n", field.name) : fmt::format("{} = {}\n", field.name, literal);
  }
  return text;
}

std::string Fields::json() const {
  nlohmann::ordered_json root;
  for (const auto& field : fields_) root[field.section][field.name] = json_value(field);
  return root.dump(2);
}

}  // namespace hpm
