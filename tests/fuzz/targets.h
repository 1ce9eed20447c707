// defines: FuzzTarget, fuzz_targets()
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace hpm::test {

/// A reader of files as a fuzzer drives it: any bytes are read or refused with hpm::Error. Whatever else happens
/// (another exception, a sanitizer's finding, a minute, a gigabyte) is a bug.
struct FuzzTarget {
  const char* name;  ///< also the name of its program and of its corpus
  void (*run)(std::span<const std::byte> bytes);
  const char* file = "fuzz.";      ///< how a refusal names the file
  const char* place = "at byte ";  ///< and where it tells the place; "" where the format's library does not tell
};
const std::vector<FuzzTarget>& fuzz_targets();

/// Runs a target; Error is swallowed.
void run_fuzz_target(const FuzzTarget& target, std::span<const std::byte> bytes);

}  // namespace hpm::test
