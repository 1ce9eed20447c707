// Loads a checkpoint once and prints what it took, for loading.py: hpm_loading FILE.
#include <sys/resource.h>

#include <chrono>

#include "hpm/core/device.h"
#include "hpm/core/error.h"
#include "hpm/core/torch_impl.h"
#include "hpm/models/checkpoint.h"

int main(int argc, char** argv) {
  if (argc != 2) return fmt::print(stderr, "hpm_loading FILE\n"), 2;
  hpm::configure_threads(1);
  at::zeros({1}).add_(1);  // libraries are loaded before the clock runs
  const auto processor_seconds = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return std::pair(seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
  };
  try {
    const auto [cpu, peak] = processor_seconds();
    const auto start = std::chrono::steady_clock::now();
    const auto loaded = hpm::load_classifier(argv[1]);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    const auto [cpu_after, peak_after] = processor_seconds();
    fmt::print("{{\"architecture\": \"{}\", \"seconds\": {:.6f}, \"cpu\": {:.6f}, \"memory_mb\": {:.1f}}}\n",
               loaded.classifier.info().architecture, wall.count(), cpu_after - cpu,
               static_cast<double>(peak_after - peak) / 1024);
  } catch (const hpm::Error& error) {
    return fmt::print(stderr, "hpm_loading: {}\n", error.what()), 1;
  }
}
