#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/core/progress.h"
#include "options.h"

namespace {

using namespace hpm;

struct Verb {
  const char* name;
  const char* summary;
  int (*run)(const app::Arguments&);
};

constexpr Verb kVerbs[] = {
    {"doctor", "what this build and machine have, and what is missing", app::doctor},
    {"data", "list and verify data sets", app::data},
    {"inspect", "what a checkpoint holds, without running code from it", app::inspect},
    {"predict", "logits and labels for images", app::predict},
    {"train", "adversarial training, from scratch or from a checkpoint", app::train},
    {"finetune", "attach Hybrid Prototype Mixing and fine-tune", app::finetune},
    {"evaluate", "clean, PGD, AutoAttack and the Mixed Surrogate Attack", app::evaluate},
    {"analyze", "the sensitivity study: FC, l2 and HPM on the same features", app::analyze},
    {"export", "write a model in another form; --fold makes HPM an FC layer", app::export_model},
    {"report", "one HTML file for a run, or comparing several", app::report},
    {"bench", "passes, whole attacks and contexts, timed", app::bench},
};

void print_verbs(std::FILE* out) {
  fmt::print(out, "usage: hpm VERB [flags]        hpm VERB --help\n\n");
  for (const auto& verb : kVerbs) fmt::print(out, "  {:<10} {}\n", verb.name, verb.summary);
  fmt::print(out, "\nExit status: 0 done, 1 failure, 2 usage, 3 finished but suspect, 130 interrupted.\n");
}

std::string shell_quoted(const std::string& word) {
  constexpr auto kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Training keeps the state of its last finished epoch, evaluate and analyze every finished chunk of an attack.
void print_resume_command(const std::string& name, const app::Arguments& arguments) {
  const auto& folder = app::run_in_progress();
  const bool resumable = name == "train" || name == "finetune" || name == "evaluate" || name == "analyze";
  if (!resumable || folder.empty()) return;
  std::string command = "hpm " + name;
  for (const auto& argument : arguments)
    if (argument != "--resume" && argument != "--overwrite") command += " " + shell_quoted(argument);
  const bool named = std::any_of(arguments.begin(), arguments.end(),
                                 [](const auto& a) { return a == "--out" || a.rfind("--out=", 0) == 0; });
  fmt::print(stderr, "to go on: {}{} --resume\n", command, named ? "" : " --out " + folder);
}

int run(const std::string& name, const app::Arguments& rest) {
  std::vector<std::string> names;
  for (const auto& verb : kVerbs) {
    if (verb.name == name) return verb.run(rest);
    names.emplace_back(verb.name);
  }
  const auto nearest = nearest_name(name, names);
  fmt::print(stderr, "hpm: unknown verb \"{}\"{}\n\n", name, nearest.empty() ? "" : "; did you mean " + nearest + "?");
  print_verbs(stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, [](int) { request_interrupt(); });
  std::signal(SIGTERM, [](int) { request_interrupt(); });
  const std::string name = argc > 1 ? argv[1] : "";
  if (name.empty() || name == "--help" || name == "-h" || name == "help") {
    print_verbs(name.empty() ? stderr : stdout);
    return name.empty() ? 2 : 0;
  }
  try {
    return run(name, {argv + 2, argv + argc});
  } catch (const UsageError& error) {
    fmt::print(stderr, "hpm {}: {}\n", name, error.what());
    return 2;
  } catch (const Interrupted&) {
    fmt::print(stderr, "\nhpm {}: interrupted\n", name);
    print_resume_command(name, {argv + 2, argv + argc});
    return 130;
  } catch (const c10::Error& error) {
    fmt::print(stderr, "hpm {}: {}\n", name, error.what_without_backtrace());
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "hpm {}: {}\n", name, error.what());
    return 1;
  }
}
