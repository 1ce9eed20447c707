// One program a target; HPM_FUZZ_TARGET is its name.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* target = [] {
    for (const auto& known : hpm::test::fuzz_targets())
      if (std::string_view(known.name) == HPM_FUZZ_TARGET) return &known;
    std::abort();
  }();
  hpm::test::run_fuzz_target(*target, std::as_bytes(std::span(data, size)));
  return 0;
}
