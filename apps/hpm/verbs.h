// defines: Verb, verbs(), descriptions()
#pragma once
#include <vector>

#include "command_line.h"
#include "commands/commands.h"

namespace hpm::app {

struct Verb {
  const char *name, *summary;
  int (*run)(const Arguments&);
};

/// Every verb, in the order in which help lists them.
const std::vector<Verb>& verbs();

/// What every verb takes, for completion and man pages.
std::vector<VerbDescription> descriptions();

}  // namespace hpm::app
