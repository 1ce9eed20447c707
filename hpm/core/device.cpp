#include "hpm/core/device.h"

#include <ATen/Parallel.h>
#include <sched.h>
#include <torch/cuda.h>

#include "hpm/core/error.h"

namespace hpm {

void fields(Fields& f, ComputeOptions& o) {
  f.section("compute");
  f.add("device", o.device, "cpu, cuda or cuda:<i>");
  f.add("threads", o.threads, "threads (0: all cores)", {.min = 0, .max = 4096});
  f.add("batch-size", o.batch_size, "images per network pass; never changes a verdict", {.min = 1, .max = 65536});
  f.add("precision", o.precision, "of the backbone during the search; verdicts are float32",
        {.choices = {"float32", "tf32", "bfloat16", "auto"}});
}

at::Device parse_device(const std::string& name) {
  const bool known = name == "cpu" || name == "cuda" ||
                     (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 8 &&
                      name.find_first_not_of("0123456789", 5) == std::string::npos);
  require(known, "device: needs cpu, cuda or cuda:<i>, but got \"{}\"", name);
  if (name == "cpu") return at::kCPU;
  require(at::hasCUDA(), "device: \"{}\" needs a CUDA build of LibTorch and a GPU; this build has none (hpm doctor)",
          name);
  const at::Device device(name);
  const auto count = visible_gpus();
  require(std::max<int64_t>(device.index(), 0) < count,
          "device: \"{}\" does not exist; this machine has {} CUDA devices", name, count);
  return device;
}

int64_t visible_gpus() { return at::hasCUDA() ? static_cast<int64_t>(torch::cuda::device_count()) : 0; }

std::string device_of_rank(const std::string& device, int64_t local_rank, int64_t gpus) {
  return device == "cuda" && gpus > 0 ? fmt::format("cuda:{}", local_rank % gpus) : device;
}

SearchPrecision parse_precision(const std::string& name, at::Device device) {
  require(name == "float32" || name == "tf32" || name == "bfloat16" || name == "auto",
          "precision: needs float32, tf32, bfloat16 or auto, but got \"{}\"", name);
  const bool reduced = name == "bfloat16" || (name == "auto" && !device.is_cpu());
  return {reduced ? at::kBFloat16 : at::kFloat, name != "float32" && !device.is_cpu()};
}

int64_t available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

void configure_threads(int64_t threads) {
  at::set_num_threads(static_cast<int>(threads > 0 ? threads : available_cores()));
}

ScopedThreads::ScopedThreads(int64_t threads) : before_(at::get_num_threads()) {
  at::set_num_threads(static_cast<int>(threads));
}
ScopedThreads::~ScopedThreads() { at::set_num_threads(before_); }

}  // namespace hpm
