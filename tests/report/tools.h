// Programs that the report's tests hand pages to: Python and a browser.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>

#include "support/support.h"

namespace hpm::test {

/// Standard output of a shell command.
inline std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string out;
  std::array<char, 4096> buffer{};
  while (const size_t count = fread(buffer.data(), 1, buffer.size(), pipe.get())) out.append(buffer.data(), count);
  return out;
}

inline std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// The path of the first of `programs` that exists, empty for none.
inline std::string find_program(const std::string& programs) {
  return first_line(output_of("command -v " + programs + " 2>/dev/null"));
}

inline std::string find_python() {
  return find_program("'" + (source_dir() / ".venv/bin/python").string() + "' python3");
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string page_check(const std::string& mode, const std::filesystem::path& file) {
  return output_of("'" + find_python() + "' '" + (source_dir() / "tests/report/page_check.py").string() + "' " + mode +
                   " '" + file.string() + "' 2>&1");
}

}  // namespace hpm::test

#define HPM_NEED_PYTHON()               \
  if (hpm::test::find_python().empty()) \
  GTEST_SKIP() << "needs python3 to parse the page with, absent here (apt install python3)"
