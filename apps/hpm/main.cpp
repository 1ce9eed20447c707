#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/core/progress.h"
#include "hpm/core/version.h"
#include "hpm/distributed/crew.h"
#include "library_warnings.h"
#include "options.h"
#include "standard_streams.h"
#include "verbs.h"

namespace {

using namespace hpm;

std::string verb_list() {
  std::string text = "usage: hpm VERB [flags]        hpm VERB --help        hpm --version\n\n";
  for (const auto& verb : app::verbs()) text += fmt::format("  {:<10} {}\n", verb.name, verb.summary);
  return text + "\nExit status: 0 done, 1 failure, 2 usage, 3 finished but suspect, 130 interrupted.\n";
}

std::string shell_quoted(const std::string& word) {
  constexpr auto kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Training keeps the state of its last finished epoch, evaluate and analyze every finished chunk of an attack, the
/// gauntlet every row.
void say_resume_command(const std::string& name, const app::Arguments& arguments) {
  const auto& folder = app::run_in_progress();
  const bool resumable =
      name == "train" || name == "finetune" || name == "evaluate" || name == "analyze" || name == "gauntlet";
  if (!resumable || folder.empty()) return;
  std::string command = "hpm " + name;
  for (const auto& argument : arguments)
    if (argument != "--resume" && argument != "--overwrite") command += " " + shell_quoted(argument);
  const bool named = std::any_of(arguments.begin(), arguments.end(),
                                 [](const auto& a) { return a == "--out" || a.rfind("--out=", 0) == 0; });
  app::say_error(fmt::format("to go on: {}{} --resume", command, named ? "" : " --out " + folder));
}

int run(const std::string& name, const app::Arguments& rest) {
  if (name == "--version" || name == "version")
    return fmt::print("hpm {} (commit {}), LibTorch {}\n", this_build().version, this_build().commit,
                      this_build().torch),
           0;
  if (name == "--help" || name == "-h" || (name == "help" && rest.empty())) return fmt::print("{}", verb_list()), 0;
  if (name == "help") return run(rest.front(), {"--help"});
  std::vector<std::string> names;
  for (const auto& verb : app::verbs()) {
    if (verb.name == name) return verb.run(rest);
    names.emplace_back(verb.name);
  }
  if (!name.empty()) {
    const auto nearest = nearest_name(name, names);
    app::say_error(
        fmt::format("hpm: unknown verb \"{}\"{}\n", name, nearest.empty() ? "" : "; did you mean " + nearest + "?"));
  }
  app::say_error(verb_list());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  app::prepare_standard_streams();
  std::signal(SIGINT, [](int) { request_interrupt(); });
  std::signal(SIGTERM, [](int) { request_interrupt(); });
  const app::Arguments arguments(argv + std::min(argc, 1), argv + argc);
  const auto name = arguments.empty() ? "" : arguments.front();
  const app::Arguments rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  const auto failed = [&](const std::string& what) { return app::say_error(fmt::format("hpm {}: {}", name, what)); };
  int status = 1;
  std::error_code unwritten;
  try {
    const app::LibraryWarnings warnings;
    status = run(name, rest);
  } catch (const UsageError& error) {
    failed(error.what());
    status = 2;
  } catch (const Interrupted&) {
    app::say_error("");
    failed("interrupted");
    say_resume_command(name, rest);
    status = 130;
  } catch (const CrewLost& error) {
    failed(error.what());
    say_resume_command(name, rest);
  } catch (const c10::Error& error) {
    failed(error.what_without_backtrace());
  } catch (const std::system_error& error) {
    if (std::ferror(stdout)) unwritten = error.code();
    else failed(error.what());
  } catch (const std::exception& error) {
    failed(error.what());
  }
  return app::finish_standard_output(status, name, unwritten);
}
