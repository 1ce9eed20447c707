// The inputs that people bring (../shared/cases): written once a program by the folder's own make.py.
#pragma once
#include "cli/program.h"
#include "support/python.h"

namespace hpm::test {

/// The folder that make.py wrote; the reason why there is none otherwise.
struct Cases {
  std::optional<TemporaryFolder> folder;
  std::string missing;
};

inline const Cases& cases() {
  static const Cases made = [] {
    Cases all;
    const auto script = shared("cases/make.py");
    if (!script) all.missing = "needs ../shared/cases, absent here (HPM_SHARED=FOLDER names another place)";
    else if (!has_python_torch()) all.missing = "needs a Python with PyTorch: scripts/setup makes one";
    if (!all.missing.empty()) return all;
    all.folder.emplace();
    const auto out = output_of("'" + python_path() + "' '" + script->string() + "' '" + all.folder->path.string() +
                               "' 2>&1 && echo done");
    if (!out.ends_with("done\n"))
      all.missing =
          "make.py of ../shared/cases failed (HPM_SHARED=FOLDER names another place, HPM_PYTHON=PROGRAM another "
          "Python):\n" +
          out;
    return all;
  }();
  return made;
}

}  // namespace hpm::test

/// `variable` is where the cases lie; skips the test with a printed reason where they cannot be made.
#define HPM_NEED_CASES(variable)                                                           \
  if (!::hpm::test::cases().missing.empty()) GTEST_SKIP() << ::hpm::test::cases().missing; \
  const std::filesystem::path variable = ::hpm::test::cases().folder->path
