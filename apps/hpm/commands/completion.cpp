#include "completion.h"

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "verbs.h"

namespace hpm::app {

int completion(const Arguments& arguments) {
  CommandLine line("completion",
                   "Prints a script that completes verbs, flags, their names and files. bash: source <(hpm completion "
                   "bash), in ~/.bashrc; zsh: the same after compinit; fish: hpm completion fish | source.",
                   "source <(hpm completion bash)");
  std::vector<std::string> words;
  line.positional("bash|zsh|fish", words, {.choices = {"bash", "zsh", "fish"}});
  if (!line.parse(arguments)) return 0;
  require(words.size() == 1, "completion: needs one of bash, zsh and fish");
  fmt::print("{}", completion_script(words[0], descriptions()));
  return 0;
}

}  // namespace hpm::app
