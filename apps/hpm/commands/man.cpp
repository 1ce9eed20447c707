#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "man_page.h"
#include "verbs.h"

namespace hpm::app {

int man(const Arguments& arguments) {
  CommandLine line("man", "Writes the man pages hpm.1 and hpm-VERB.1 into a folder; cmake --install does so too.",
                   "hpm man share/man/man1 && man -l share/man/man1/hpm-evaluate.1");
  std::vector<std::string> words;
  line.positional("DIR", words, {.place = Place::folder});
  if (!line.parse(arguments)) return 0;
  require(words.size() == 1, "man: needs one folder to write to");
  const std::filesystem::path folder = words[0];
  std::filesystem::create_directories(folder);
  const auto verbs = descriptions();
  write_file_atomically((folder / "hpm.1").string(), program_man_page(verbs));
  for (const auto& verb : verbs)
    write_file_atomically((folder / ("hpm-" + verb.verb + ".1")).string(), verb_man_page(verb));
  fmt::print("{} pages in {}\n", verbs.size() + 1, folder.string());
  return 0;
}

}  // namespace hpm::app
