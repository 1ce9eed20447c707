// defines: completion_script()
#pragma once
#include <string>
#include <vector>

#include "command_line.h"

namespace hpm::app {

/// A script for `shell` (bash, zsh or fish) that completes verbs, flags, the names that a flag takes, files and
/// folders.
std::string completion_script(const std::string& shell, const std::vector<VerbDescription>& verbs);

}  // namespace hpm::app
