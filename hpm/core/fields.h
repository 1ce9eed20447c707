// defines: Fields, Field, FieldRules, parse_radius(), nearest_name()
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hpm {

/// A radius of a threat model as people write it: "8/255", ".031" or "0.5". Throws UsageError for anything that is not
/// a finite number >= 0 or a quotient of two with a positive divisor.
double parse_radius(const std::string& text, std::string_view name = "eps");

/// The member of `names` with the smallest edit distance to `name`; empty when none is near (distance over 2 and
/// over half of the name's length).
std::string nearest_name(const std::string& name, const std::vector<std::string>& names);

/// What a text stands for on the disk, so that a shell can complete it.
enum class Place { none, file, folder };

/// What a value must satisfy, and what help and completion say of it.
struct FieldRules {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  ///< of a string; empty = any
  std::string unit = {};                  ///< printed in the help, e.g. "images", "input range"
  bool radius = false;                    ///< of a string: a comma-separated list of radii, checked when set
  Place place = Place::none;
  std::vector<std::string> suggestions = {};  ///< names that completion offers beside others that are allowed
  bool repeatable = false;  ///< of a list of strings: the flag is given once for each, and commas separate nothing
};

/// Where an option's value came from. A later kind overrides an earlier one.
enum class Origin { built_in, file, set, flag };

/// One option: a name, a help text, the member that holds it.
struct Field {
  using Member =
      std::variant<bool*, int64_t*, uint64_t*, double*, std::string*, std::vector<double>*, std::vector<int64_t>*,
                   std::vector<std::string>*, std::optional<double>*, std::optional<int64_t>*>;
  std::string section, name, help;
  Member member;
  FieldRules rules;
  Origin origin = Origin::built_in;
  std::string default_text;

  bool is_switch() const { return std::holds_alternative<bool*>(member); }
  std::string type_name() const;
  std::string text() const;  ///< the present value as it would be written on the command line
  std::string json() const;  ///< the present value as JSON
};

/// The options of a command, declared once: a struct's `fields(Fields&, Options&)` names its members, and flags, help,
/// TOML, JSON and the docs follow from that.
///
/// Example:
///     struct PgdOptions { int64_t steps = 40; };
///     void fields(Fields& f, PgdOptions& o) { f.add("steps", o.steps, "gradient steps per restart", {.min = 1}); }
class Fields {
 public:
  /// Fields added after this call belong to the TOML table `[section]`.
  Fields& section(std::string name);

  /// Declares an option. `member` must outlive this object.
  template <class T>
  void add(std::string name, T& member, std::string help, FieldRules rules = {}) {
    add_field({section_, std::move(name), std::move(help), &member, std::move(rules), Origin::built_in, {}});
  }

  /// Sets an option from text ("threat.eps" or "eps"). Throws UsageError that names `where` (a flag, or file and line)
  /// for an unknown name, a wrong type or a value outside its rules.
  void set(const std::string& name, const std::string& text, Origin origin, const std::string& where);
  /// The same for a list of strings, whose elements may hold commas.
  void set_list(const std::string& name, const std::vector<std::string>& parts, Origin origin,
                const std::string& where);

  /// Reads a TOML file: tables are sections, unknown keys are errors with file, line and the nearest known name.
  void read_toml(const std::string& path);

  std::string toml() const;  ///< the effective configuration, readable by read_toml
  std::string json() const;  ///< {"section": {"name": value}}

  const std::vector<Field>& all() const { return fields_; }
  const Field* find(const std::string& name) const;
  /// True when the user gave the option, as a flag, with --set, or in a file with another value than the default.
  bool given(const std::string& name) const;

 private:
  void add_field(Field field);
  Field& known_field(const std::string& name, const std::string& where);
  std::string section_;
  std::vector<Field> fields_;
};

}  // namespace hpm
