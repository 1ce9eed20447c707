// defines: program_man_page(), verb_man_page()
#pragma once
#include <string>
#include <vector>

#include "command_line.h"

namespace hpm::app {

/// hpm(1) and hpm-VERB(1), in the macros of man(7).
std::string program_man_page(const std::vector<VerbDescription>& verbs);
std::string verb_man_page(const VerbDescription& verb);

}  // namespace hpm::app
