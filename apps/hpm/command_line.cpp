#include "command_line.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <map>

#include "hpm/core/error.h"

namespace hpm::app {
namespace {

constexpr size_t kWidth = 80, kColumn = 28;

/// `text` wrapped at kWidth, every line but the first indented to `indent`.
std::string wrapped(const std::string& text, size_t indent = kColumn) {
  std::string out, line;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > kWidth)
      out += line + "\n" + std::string(indent, ' '), line.clear();
    line += (line.empty() ? "" : " ") + word;
  }
  return out + line;
}

void print_option(const std::string& left, const std::string& help) {
  if (left.size() + 3 > kColumn) fmt::print("  {}\n{}{}\n", left, std::string(kColumn, ' '), wrapped(help));
  else fmt::print("  {:<{}}{}\n", left, kColumn - 2, wrapped(help));
}

std::string help_of(const Field& field) {
  std::string text = field.help;
  auto choices = field.rules.choices;
  std::erase(choices, "");  // what stands for none
  if (!choices.empty()) text += fmt::format(": {}", fmt::join(choices, ", "));
  if (!field.rules.unit.empty()) text += fmt::format(" [{}]", field.rules.unit);
  if (!field.default_text.empty() && field.default_text != "false")
    text += fmt::format(" (default {})", field.default_text);
  return text;
}

}  // namespace

CommandLine::CommandLine(std::string verb, std::string summary, std::string example)
    : verb_(std::move(verb)), summary_(std::move(summary)), example_(std::move(example)) {}

void CommandLine::positional(std::string name, std::vector<std::string>& into) {
  positional_name_ = std::move(name), positional_ = &into;
}
void CommandLine::with_run_directory(bool resumable) { has_run_directory_ = true, resumable_ = resumable; }

void CommandLine::print_help() const {
  fmt::print("usage: hpm {}{}{} [flags]\n\n{}\n\nexample: {}\n", verb_, positional_name_.empty() ? "" : " ",
             positional_name_, wrapped(summary_, 0), example_);
  std::string open;
  for (const auto& field : fields.all()) {
    if (field.section != open) fmt::print("\n{}:\n", open = field.section);
    const auto type = field.type_name();
    print_option(fmt::format("--{}{}{}", field.is_switch() && field.default_text == "true" ? "[no-]" : "", field.name,
                             type.empty() ? "" : " " + type),
                 help_of(field));
  }
  fmt::print("\ncommon:\n");
  if (has_run_directory_) {
    print_option("--out DIR", fmt::format("run directory (default runs/<date>-{})", verb_));
    print_option("--overwrite", "replace the run that --out holds");
    if (resumable_) print_option("--resume", "go on with the run that --out holds");
  }
  print_option("--config FILE.toml", "read options from a file");
  print_option("--set a.b=c", "override an option of the file; repeatable");
  print_option("--print-config", "print the effective options as TOML and stop");
  if (has_dry_run_) print_option("--dry-run", "print what would be done and its cost, and stop");
  print_option("--json", "one JSON document on stdout");
  print_option("--quiet", "no progress");
  print_option("--help", "this text");
}

bool CommandLine::parse(const std::vector<std::string>& arguments) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras(false);
  bool help = false, print_config = false;
  app.add_flag("--help,-h", help);
  app.add_flag("--print-config", print_config);
  app.add_flag("--json", json);
  app.add_flag("--quiet", quiet);
  app.add_option("--config", config_);
  app.add_option("--set", set_)->expected(1)->allow_extra_args(false)->take_all();
  if (has_dry_run_) app.add_flag("--dry-run", dry_run);
  if (has_run_directory_) {
    app.add_option("--out", out);
    app.add_flag("--overwrite", overwrite);
    if (resumable_) app.add_flag("--resume", resume);
  }
  std::map<std::string, std::string> given;
  std::map<std::string, bool> switches;
  for (const auto& field : fields.all()) {
    if (field.is_switch()) app.add_flag(fmt::format("--{0},!--no-{0}", field.name), switches[field.name]);
    else app.add_option("--" + field.name, given[field.name])->expected(1);
  }
  if (positional_) app.add_option(positional_name_, *positional_);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ExtrasError& error) {
    std::string unknown;
    for (const auto& argument : arguments)
      if (argument.rfind("--", 0) == 0 && !app.get_option_no_throw(argument.substr(0, argument.find('=')))) {
        unknown = argument.substr(2, argument.find('=') - 2);
        break;
      }
    std::vector<std::string> names;
    for (const auto& field : fields.all()) names.push_back(field.name);
    const auto nearest = nearest_name(unknown, names);
    if (unknown.empty()) fail_usage("{}", error.what());
    fail_usage("unknown flag --{}{} (hpm {} --help lists all)", unknown,
               nearest.empty() ? "" : "; did you mean --" + nearest + "?", verb_);
  } catch (const CLI::ParseError& error) {
    fail_usage("{}", error.what());
  }
  if (help) return print_help(), false;

  if (!config_.empty()) fields.read_toml(config_);
  for (const auto& assignment : set_) {
    const auto equals = assignment.find('=');
    require(equals != std::string::npos, "--set: needs key=value, but got \"{}\"", assignment);
    fields.set(assignment.substr(0, equals), assignment.substr(equals + 1), Origin::set,
               "--set " + assignment.substr(0, equals));
  }
  for (const auto& [name, text] : given)
    if (app.get_option("--" + name)->count() > 0) fields.set(name, text, Origin::flag, "--" + name);
  for (const auto& [name, on] : switches)
    if (app.get_option("--" + name)->count() > 0) fields.set(name, on ? "true" : "false", Origin::flag, "--" + name);
  if (print_config) return fmt::print("{}", fields.toml()), false;
  monitor_ = std::make_unique<Monitor>(quiet ? Monitor::Style::quiet : Monitor::Style::automatic);
  return true;
}

void CommandLine::warn_unused(const std::string& name, const std::string& why) {
  if (fields.given(name)) monitor_->warn(fmt::format("--{} had no effect: {}", name, why));
}

}  // namespace hpm::app
