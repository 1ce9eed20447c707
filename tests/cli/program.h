// Runs the built program as a user would.
#pragma once
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <sstream>

#include "support/support.h"

namespace hpm::test {

/// The content of a file; empty where it cannot be read.
inline std::string text_of(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct ProgramRun {
  int status = -1;
  std::string out, err;
};

/// Runs `hpm <arguments>` in `folder` through a shell; `environment`: "NAME=value ..." for it alone.
inline ProgramRun program(const std::string& arguments, const std::filesystem::path& folder = ".",
                          const std::string& environment = "") {
  TemporaryFolder scratch;
  const auto err = (scratch / "err").string();
  const auto command = "cd '" + folder.string() + "' && " + environment + " '" + (binary_dir() / "hpm").string() +
                       "' " + arguments + " 2>'" + err + "'";
  ProgramRun run;
  FILE* pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) run.out.append(buffer.data(), n);
  const int status = pclose(pipe);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  run.err = text_of(err);
  return run;
}

/// A checkpoint of a small Fashion-MNIST network, made by `hpm train --epochs 0`; a folder of three-image data sets.
inline bool has_fashion_mnist() {
  return std::filesystem::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz");
}

}  // namespace hpm::test

#define HPM_NEED_FASHION_MNIST() \
  if (!::hpm::test::has_fashion_mnist()) GTEST_SKIP() << "needs Fashion-MNIST: apt-get install dataset-fashion-mnist"
