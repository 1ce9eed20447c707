// Python with PyTorch, for tests that run a committed generator or read back what hpm wrote.
#pragma once
#include <cstdlib>

#include "report/tools.h"

namespace hpm::test {

inline std::string python_path() {
  const char* given = std::getenv("HPM_PYTHON");
  return given ? given : find_python();
}

inline bool has_python_torch() {
  return !python_path().empty() &&
         std::system(("'" + python_path() +
                      "' -c 'import importlib.util as u, sys; sys.exit(not u.find_spec(\"torch\"))' 2>/dev/null")
                         .c_str()) == 0;
}

/// Runs a script of the source folder; "" where it ends well, else its output.
inline std::string python(const std::string& script, const std::string& arguments) {
  const auto out = output_of("'" + python_path() + "' '" + (source_dir() / script).string() + "' " + arguments +
                             " 2>&1 && echo done");
  return out.ends_with("done\n") ? std::string() : out;
}

}  // namespace hpm::test

#define HPM_NEED_PYTHON_TORCH()         \
  if (!::hpm::test::has_python_torch()) \
  GTEST_SKIP() << "needs a Python with PyTorch: scripts/setup makes one, HPM_PYTHON=PROGRAM names another"
