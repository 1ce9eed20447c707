// defines: CommandLine
#pragma once
#include <string>
#include <vector>

#include "hpm/core/fields.h"
#include "hpm/core/progress.h"

namespace hpm::app {

/// A verb's arguments: flags for every declared field, plus the common ones. Values come from --config, are overridden
/// by
/// --set, and by flags last.
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
  void positional(std::string name, std::vector<std::string>& into);
  /// Adds --out, --resume (where `resumable`) and --overwrite.
  void with_run_directory(bool resumable);
  void with_dry_run() { has_dry_run_ = true; }

  /// False when help or --print-config was printed and the verb is done. Throws UsageError.
  bool parse(const std::vector<std::string>& arguments);
  Monitor& monitor() { return *monitor_; }
  /// Warns that an option the user gave had no effect, and why.
  void warn_unused(const std::string& name, const std::string& why);

 private:
  void print_help() const;
  std::string verb_, summary_, example_, positional_name_, config_;
  std::vector<std::string> set_, *positional_ = nullptr;
  bool has_run_directory_ = false, resumable_ = false, has_dry_run_ = false;
  std::unique_ptr<Monitor> monitor_;
};

}  // namespace hpm::app
