// defines: Error, UsageError, fail(), require()
#pragma once
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace hpm {

/// The one exception type of the library: a message that names the public function or the file, what is needed, what
/// came and what to do. The program prints it and exits with status 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The caller asked for something that cannot be: a wrong option, name or range. The program exits with status 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Throws Error with a formatted message.
template <class... A>
[[noreturn]] void fail(fmt::format_string<A...> format, A&&... arguments) {
  throw Error(fmt::format(format, std::forward<A>(arguments)...));
}

/// Throws UsageError with a formatted message.
template <class... A>
[[noreturn]] void fail_usage(fmt::format_string<A...> format, A&&... arguments) {
  throw UsageError(fmt::format(format, std::forward<A>(arguments)...));
}

/// Throws UsageError with a formatted message unless `condition` holds.
template <class... A>
void require(bool condition, fmt::format_string<A...> format, A&&... arguments) {
  if (!condition) fail_usage(format, std::forward<A>(arguments)...);
}

}  // namespace hpm
