// defines: Build, this_build()
#pragma once

namespace hpm {

/// What this library was built from and with.
struct Build {
  const char *version, *commit, *date, *compiler, *flags, *torch;  ///< date: of the commit, e.g. "2026-11-29"
};
const Build& this_build();

}  // namespace hpm
