// defines: prepare_standard_streams(), finish_standard_output(), is_standard_output(), say_error()
#pragma once
#include <string>
#include <system_error>

namespace hpm::app {

/// Before anything else: a closed pipe becomes an error that is noticed in place of a signal that ends the work, and a
/// standard stream that was closed becomes one that cannot be written, so that no file of ours takes its number.
void prepare_standard_streams();

/// Once, after everything was said: flushes and closes standard output. `status` where all of it arrived. Otherwise one
/// sentence on stderr and 1 in place of "done"; where the reader of a pipe has gone, the process ends by SIGPIPE
/// without a word, as other programs do (a shell sees 141). `failed`: an earlier attempt to write, if there was one.
int finish_standard_output(int status, const std::string& name, std::error_code failed = {});

/// Whether a file that was written is standard output itself, as /dev/stdout is: nothing else belongs there then.
bool is_standard_output(const std::string& path);

/// A line on stderr; where that cannot be written it is left unsaid.
void say_error(const std::string& line);

}  // namespace hpm::app
