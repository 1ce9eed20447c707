#include "standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace hpm::app {
namespace {

bool pipes_kill = true;  // SIGPIPE was not ignored when the program started

}  // namespace

void prepare_standard_streams() {
  pipes_kill = std::signal(SIGPIPE, SIG_IGN) != SIG_IGN;
  // In ascending order: open() takes the lowest free number. Opened the wrong way round, so that using it is an error.
  for (int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF &&
        ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
      return;
}

int finish_standard_output(int status, const std::string& name, std::error_code failed) {
  const bool broken = failed || std::ferror(stdout) != 0;
  errno = 0;
  const bool closed = std::fclose(stdout) == 0;
  if (!broken && closed) return status;
  if (!failed && errno != 0) failed = std::error_code(errno, std::generic_category());
  if (failed.value() == EPIPE && pipes_kill) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  say_error(fmt::format("hpm{}{}: standard output could not be written{}{}", name.empty() ? "" : " ", name,
                        failed ? ": " : "", failed ? failed.message() : ""));
  return status == 0 || status == 3 ? 1 : status;
}

bool is_standard_output(const std::string& path) {
  struct stat file {
  }, output{};
  if ((::fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_RDONLY) return false;  // closed: prepare_standard_streams()
  return ::stat(path.c_str(), &file) == 0 && ::fstat(STDOUT_FILENO, &output) == 0 && file.st_dev == output.st_dev &&
         file.st_ino == output.st_ino;
}

void say_error(const std::string& line) {
  const auto text = line + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace hpm::app
