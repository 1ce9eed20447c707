// defines: CommandLine, OptionDescription, VerbDescription, described()
#pragma once
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/core/progress.h"

namespace hpm::app {

/// A flag, as help, completion and man pages show it.
struct OptionDescription {
  std::string section, name;
  std::string type;        ///< what it takes, e.g. "INT"; empty for a switch
  std::string summary;     ///< the declaration's own words
  std::string help;        ///< with choices, unit and default
  FieldRules rules;        ///< choices, suggestions and place
  bool negatable = false;  ///< --no-NAME turns it off
  bool list = false;       ///< names separated by commas
  std::string flag() const { return (negatable ? "--[no-]" : "--") + name; }
};

/// What a verb takes.
struct VerbDescription {
  std::string verb, one_line, summary, example, positional;
  FieldRules positional_rules;
  std::vector<OptionDescription> options;
};

/// A verb's arguments: flags for every declared field, plus the common ones. Values come from --config, are overridden
/// by --set, and by flags last.
class CommandLine {
 public:
  CommandLine(std::string verb, std::string summary, std::string example);
  CommandLine(const CommandLine&) = delete;

  Fields fields;
  bool json = false;  ///< one JSON document on stdout
  bool quiet = false;
  bool dry_run = false;
  bool resume = false, overwrite = false;
  std::string out;

  /// Takes arguments without a name, shown as `name` in the help.
  void positional(std::string name, std::vector<std::string>& into, FieldRules rules = {});
  /// Adds --out, --resume (where `resumable`) and --overwrite.
  void with_run_directory(bool resumable);
  void with_dry_run();

  const std::string& verb() const { return verb_; }
  bool resumable() const { return resumable_; }
  /// False when help or --print-config was printed and the verb is done. Throws UsageError.
  bool parse(const std::vector<std::string>& arguments);
  Monitor& monitor() { return *monitor_; }
  /// From now on progress is also kept in `folder`, a run's (ProgressFile).
  void keep_progress(const std::string& folder);
  /// Nothing is said from now on: another process speaks for this one.
  void mute() { monitor_ = std::make_unique<Monitor>(Monitor::Style::mute); }
  /// Warns that an option the user gave had no effect, and why.
  void warn_unused(const std::string& name, const std::string& why);

 private:
  /// A flag that is no field: of this run alone, and of no configuration.
  struct CommonFlag {
    OptionDescription description;
    std::variant<bool*, std::string*, std::vector<std::string>*> into;
  };
  VerbDescription description() const;
  void print_help() const;
  [[noreturn]] void fail_unknown(const std::vector<std::string>& arguments, const std::string& message,
                                 const std::function<bool(const std::string&)>& is_known) const;
  std::string verb_, summary_, example_, positional_name_, config_;
  FieldRules positional_rules_;
  std::vector<std::string> set_, *positional_ = nullptr;
  std::vector<CommonFlag> common_;
  bool help_ = false, print_config_ = false, resumable_ = false;
  std::unique_ptr<Monitor> monitor_;
};

/// What the verb takes that `run` starts: its CommandLine hands that over in place of parsing, and the verb ends.
VerbDescription described(const std::function<void()>& run);

}  // namespace hpm::app
