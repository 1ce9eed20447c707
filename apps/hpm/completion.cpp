#include "completion.h"

#include "hpm/core/error.h"
#include "hpm/core/version.h"

namespace hpm::app {
namespace {

/// The names that a flag or argument takes, as far as they are known.
std::vector<std::string> names_of(const FieldRules& rules) {
  auto names = rules.choices.empty() ? rules.suggestions : rules.choices;
  std::erase(names, "");
  return names;
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

/// `text` with `before` put before each of the characters `special`.
std::string escaped(const std::string& text, const std::string& special, const std::string& before) {
  std::string out;
  for (const char c : text) out += (special.find(c) == std::string::npos ? "" : before) + c;
  return out;
}

/// A help text up to its first parenthesis or second clause.
std::string brief(const std::string& help) { return help.substr(0, std::min(help.find(" ("), help.find(';'))); }

std::vector<std::string> flags_of(const OptionDescription& option) {
  std::vector<std::string> flags{"--" + option.name};
  if (option.negatable) flags.push_back("--no-" + option.name);
  return flags;
}

// ---- bash

/// The command that fills COMPREPLY for a value.
std::string bash_values(const FieldRules& rules, bool list) {
  const auto names = joined(names_of(rules));
  if (rules.place == Place::folder) return "_hpm_folders";
  if (rules.place == Place::file) return "_hpm_files";
  if (names.empty()) return ":";
  return fmt::format("{} '{}'", list ? "_hpm_list" : "_hpm_words", names);
}

constexpr const char* kBashHelpers = R"(_hpm_words() { mapfile -t COMPREPLY < <(IFS=' '; compgen -W "$1" -- "$cur"); }
_hpm_list() {  # names separated by commas
  local before=
  [[ $cur == *,* ]] && before=${cur%,*},
  mapfile -t COMPREPLY < <(IFS=' '; compgen -P "$before" -W "$1" -- "${cur##*,}")
  compopt -o nospace 2>/dev/null
}
_hpm_files() { mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames 2>/dev/null; }
_hpm_folders() { mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames 2>/dev/null; }
)";

std::string bash(const std::vector<VerbDescription>& verbs) {
  std::string names, values, flags, arguments;
  for (const auto& verb : verbs) {
    names += verb.verb + " ";
    std::vector<std::string> all;
    for (const auto& option : verb.options) {
      for (const auto& flag : flags_of(option)) all.push_back(flag);
      if (!option.type.empty())
        values +=
            fmt::format("    {}:--{}) {}; return ;;\n", verb.verb, option.name, bash_values(option.rules, option.list));
    }
    flags += fmt::format("      {}) _hpm_words '{}' ;;\n", verb.verb, joined(all));
    if (!verb.positional.empty())
      arguments += fmt::format("    {}) {} ;;\n", verb.verb, bash_values(verb.positional_rules, false));
  }
  return std::string(kBashHelpers) + fmt::format(R"(_hpm() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} verb=${{COMP_WORDS[1]}}
  COMPREPLY=()
  # --flag=value comes as three words.
  if [[ $cur == '=' ]]; then cur=
  elif [[ $prev == '=' ]]; then prev=${{COMP_WORDS[COMP_CWORD - 2]}}; fi
  if ((COMP_CWORD == 1)); then _hpm_words '{}--help --version'; return; fi
  case $verb:$prev in
{}  esac
  if [[ $cur == -* ]]; then
    case $verb in
{}    esac
    return
  fi
  case $verb in
{}  esac
}}
complete -F _hpm hpm
)",
                                                 names, values, flags, arguments);
}

// ---- zsh

std::string zsh_action(const FieldRules& rules, bool list) {
  const auto names = joined(names_of(rules));
  if (rules.place == Place::folder) return "_files -/";
  if (rules.place == Place::file) return "_files";
  if (names.empty()) return " ";
  return list ? "_values -s , name " + names : "(" + names + ")";
}

/// As it stands within single quotes, and in _arguments' brackets.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : escaped(text, "[]\\", "\\")) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out;
}

std::string zsh(const std::vector<VerbDescription>& verbs) {
  std::string names, cases;
  for (const auto& verb : verbs) {
    names += fmt::format("    '{}:{}'\n", verb.verb, zsh_text(verb.one_line));
    cases += fmt::format("    {})\n      _arguments", verb.verb);
    for (const auto& option : verb.options)
      for (const auto& flag : flags_of(option)) {
        cases += fmt::format(" \\\n        '{}[{}]", option.rules.repeatable ? "*" + flag : flag,
                             zsh_text(brief(option.summary)));
        if (!option.type.empty()) cases += fmt::format(":{}:{}", option.name, zsh_action(option.rules, option.list));
        cases += "'";
      }
    if (!verb.positional.empty())
      cases +=
          fmt::format(" \\\n        '*:{}:{}'", zsh_text(verb.positional), zsh_action(verb.positional_rules, false));
    cases += " ;;\n";
  }
  return fmt::format(R"(_hpm() {{
  local -a verbs
  verbs=(
{}  )
  if ((CURRENT == 2)); then
    _describe -t verbs verb verbs
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
{}  esac
}}
if [[ $funcstack[1] == _hpm ]]; then _hpm "$@"; else compdef _hpm hpm; fi
)",
                     names, cases);
}

// ---- fish

std::string fish_values(const FieldRules& rules, bool list) {
  const auto names = joined(names_of(rules));
  if (rules.place == Place::folder) return " -x -a '(__fish_complete_directories)'";
  if (rules.place == Place::file) return " -r -F";
  if (names.empty()) return " -x";
  return list ? fmt::format(" -x -a '(__fish_append , {})'", names) : fmt::format(" -x -a '{}'", names);
}

std::string fish_text(const std::string& text) { return escaped(text, "'\\", "\\"); }

std::string fish(const std::vector<VerbDescription>& verbs) {
  std::string out = R"(function __hpm_verb
  set -l words (commandline -opc)
  test (count $words) -gt 1; and test $words[2] = $argv[1]
end
function __hpm_no_verb
  test (count (commandline -opc)) -eq 1
end
complete -c hpm -f
complete -c hpm -n __hpm_no_verb -l help -d 'the verbs'
complete -c hpm -n __hpm_no_verb -l version -d 'version, commit and LibTorch'
)";
  for (const auto& verb : verbs) {
    out += fmt::format("complete -c hpm -n __hpm_no_verb -a {} -d '{}'\n", verb.verb, fish_text(verb.one_line));
    for (const auto& option : verb.options)
      for (const auto& flag : flags_of(option))
        out += fmt::format("complete -c hpm -n '__hpm_verb {}' -l {}{} -d '{}'\n", verb.verb, flag.substr(2),
                           option.type.empty() ? "" : fish_values(option.rules, option.list),
                           fish_text(brief(option.summary)));
    if (const auto names = names_of(verb.positional_rules); !names.empty())
      out += fmt::format("complete -c hpm -n '__hpm_verb {}' -a '{}'\n", verb.verb, joined(names));
    else if (verb.positional_rules.place != Place::none)
      out += fmt::format("complete -c hpm -n '__hpm_verb {}'{}\n", verb.verb,
                         verb.positional_rules.place == Place::file ? " -F" : " -a '(__fish_complete_directories)'");
  }
  return out;
}

}  // namespace

std::string completion_script(const std::string& shell, const std::vector<VerbDescription>& verbs) {
  const auto script = shell == "bash" ? bash(verbs) : shell == "zsh" ? zsh(verbs) : shell == "fish" ? fish(verbs) : "";
  require(!script.empty(), "completion: needs bash, zsh or fish, but got \"{}\"", shell);
  // zsh looks at the first line of a file in fpath.
  return (shell == "zsh" ? "#compdef hpm\n" : "") +
         fmt::format("# {} completion for hpm {}, written by `hpm completion {}`\n", shell, this_build().version,
                     shell) +
         script;
}

}  // namespace hpm::app
