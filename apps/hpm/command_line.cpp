#include "command_line.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <map>

#include "hpm/core/error.h"
#include "progress_file.h"

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

std::string option_lines(const std::string& left, const std::string& help) {
  if (left.size() + 3 > kColumn) return fmt::format("  {}\n{}{}\n", left, std::string(kColumn, ' '), wrapped(help));
  return fmt::format("  {:<{}}{}\n", left, kColumn - 2, wrapped(help));
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

OptionDescription description_of(const Field& field) {
  const auto type = field.rules.place == Place::file     ? "FILE"
                    : field.rules.place == Place::folder ? "DIR"
                                                         : field.type_name();
  const bool list = std::holds_alternative<std::vector<std::string>*>(field.member) && !field.rules.repeatable;
  return {field.section,
          field.name,
          field.rules.repeatable                     ? "TEXT"
          : list && field.rules.place == Place::file ? "FILE,..."
                                                     : type,
          field.help,
          help_of(field),
          field.rules,
          field.is_switch() && field.default_text == "true",
          list};
}

std::function<void(VerbDescription)>* listener = nullptr;  // of described()

}  // namespace

CommandLine::CommandLine(std::string verb, std::string summary, std::string example)
    : verb_(std::move(verb)), summary_(std::move(summary)), example_(std::move(example)) {
  const auto common = [](const char* name, const char* type, const char* help, Place place = Place::none) {
    return OptionDescription{"common", name, type, help, help, {.place = place}};
  };
  common_ = {{common("config", "FILE.toml", "read options from a file", Place::file), &config_},
             {common("set", "a.b=c", "override an option of the file; repeatable"), &set_},
             {common("print-config", "", "print the effective options as TOML and stop"), &print_config_},
             {common("json", "", "one JSON document on stdout"), &json},
             {common("quiet", "", "no progress"), &quiet},
             {common("help", "", "this text (-h)"), &help_}};
}

void CommandLine::positional(std::string name, std::vector<std::string>& into, FieldRules rules) {
  positional_name_ = std::move(name), positional_ = &into, positional_rules_ = std::move(rules);
}

void CommandLine::with_run_directory(bool resumable) {
  const auto flag = [](const char* name, const char* type, const std::string& help, Place place = Place::none) {
    return OptionDescription{"common", name, type, help, help, {.place = place}};
  };
  std::vector<CommonFlag> flags = {
      {flag("out", "DIR", fmt::format("run directory (default runs/<date>-{})", verb_), Place::folder), &out},
      {flag("overwrite", "", "replace the run that --out holds"), &overwrite}};
  if ((resumable_ = resumable)) flags.push_back({flag("resume", "", "go on with the run that --out holds"), &resume});
  common_.insert(common_.begin(), flags.begin(), flags.end());
}

void CommandLine::with_dry_run() {
  constexpr auto kDryRun = "print what would be done and its cost, and stop";
  const auto json_flag = std::find_if(common_.begin(), common_.end(),
                                      [](const CommonFlag& flag) { return flag.description.name == "json"; });
  common_.insert(json_flag, {{"common", "dry-run", "", kDryRun, kDryRun, {}}, &dry_run});
}

VerbDescription CommandLine::description() const {
  VerbDescription out{verb_, "", summary_, example_, positional_name_, positional_rules_, {}};
  for (const auto& field : fields.all()) out.options.push_back(description_of(field));
  for (const auto& flag : common_) out.options.push_back(flag.description);
  return out;
}

void CommandLine::print_help() const {
  auto text = fmt::format("usage: hpm {}{}{} [flags]\n\n{}\n\nexample: {}\n", verb_,
                          positional_name_.empty() ? "" : " ", positional_name_, wrapped(summary_, 0), example_);
  std::string open;
  for (const auto& option : description().options) {
    if (option.section != open) text += fmt::format("\n{}:\n", open = option.section);
    text += option_lines(option.flag() + (option.type.empty() ? "" : " ") + option.type, option.help);
  }
  fmt::print("{}", text);
}

void CommandLine::fail_unknown(const std::vector<std::string>& arguments, const std::string& message,
                               const std::function<bool(const std::string&)>& is_known) const {
  const auto unknown = std::find_if(arguments.begin(), arguments.end(), [&](const std::string& argument) {
    return argument.starts_with("--") && !is_known(argument.substr(0, argument.find('=')));
  });
  if (unknown == arguments.end()) fail_usage("{}", message);
  std::vector<std::string> names;
  for (const auto& option : description().options) names.push_back(option.name);
  const auto name = unknown->substr(2, unknown->find('=') - 2), nearest = nearest_name(name, names);
  fail_usage("unknown flag --{}{} (hpm {} --help lists all)", name,
             nearest.empty() ? "" : "; did you mean --" + nearest + "?", verb_);
}

bool CommandLine::parse(const std::vector<std::string>& arguments) {
  if (listener) return (*listener)(description()), false;
  CLI::App app;
  app.set_help_flag();
  app.allow_extras(false);
  for (auto& flag : common_) {
    const auto name = flag.description.name == "help" ? "--help,-h" : "--" + flag.description.name;
    if (auto* on = std::get_if<bool*>(&flag.into)) app.add_flag(name, **on);
    else if (auto* text = std::get_if<std::string*>(&flag.into)) app.add_option(name, **text);
    else
      app.add_option(name, *std::get<std::vector<std::string>*>(flag.into))
          ->expected(1)
          ->allow_extra_args(false)
          ->take_all();
  }
  std::map<std::string, std::string> given;
  std::map<std::string, std::vector<std::string>> listed;
  std::map<std::string, bool> switches;
  for (const auto& field : fields.all()) {
    const auto name = "--" + field.name;
    if (field.is_switch()) app.add_flag(fmt::format("{},!--no-{}", name, field.name), switches[field.name]);
    else if (field.rules.repeatable)
      app.add_option(name, listed[field.name])->expected(1)->allow_extra_args(false)->take_all();
    else app.add_option(name, given[field.name])->expected(1);
  }
  if (positional_) app.add_option(positional_name_, *positional_);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ExtrasError& error) {
    fail_unknown(arguments, error.what(),
                 [&](const std::string& flag) { return app.get_option_no_throw(flag) != nullptr; });
  } catch (const CLI::ParseError& error) {
    fail_usage("{}", error.what());
  }
  if (help_) return print_help(), false;

  if (!config_.empty()) fields.read_toml(config_);
  for (const auto& assignment : set_) {
    const auto equals = assignment.find('=');
    require(equals != std::string::npos, "--set: needs key=value, but got \"{}\"", assignment);
    fields.set(assignment.substr(0, equals), assignment.substr(equals + 1), Origin::set,
               "--set " + assignment.substr(0, equals));
  }
  const auto was_given = [&](const std::string& name) { return app.get_option("--" + name)->count() > 0; };
  for (const auto& [name, text] : given)
    if (was_given(name)) fields.set(name, text, Origin::flag, "--" + name);
  for (const auto& [name, parts] : listed)
    if (was_given(name)) fields.set_list(name, parts, Origin::flag, "--" + name);
  for (const auto& [name, on] : switches)
    if (was_given(name)) fields.set(name, on ? "true" : "false", Origin::flag, "--" + name);
  if (print_config_) return fmt::print("{}", fields.toml()), false;
  monitor_ = std::make_unique<Monitor>(quiet ? Monitor::Style::quiet : Monitor::Style::automatic);
  return true;
}

void CommandLine::keep_progress(const std::string& folder) {
  monitor_ = std::make_unique<ProgressFile>(std::move(monitor_), folder, verb_);
}

void CommandLine::warn_unused(const std::string& name, const std::string& why) {
  if (fields.given(name)) monitor_->warn(fmt::format("--{} had no effect: {}", name, why));
}

VerbDescription described(const std::function<void()>& run) {
  VerbDescription found;
  std::function<void(VerbDescription)> take = [&](VerbDescription description) { found = std::move(description); };
  listener = &take;
  run();
  listener = nullptr;
  return found;
}

}  // namespace hpm::app
