// A second device in ordinary memory, for tests of code that runs on a GPU where there is none.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace hpm::test {

/// The emulated accelerator: LibTorch's device type HPU, whose kernels are the CPU's on the same memory. As on a GPU,
/// an operation refuses tensors of two devices (a CPU tensor without dimensions excepted), and code that asks whether a
/// tensor is on the CPU is told no.
at::Device emulated_device();

/// The device that the tests labelled `device` compare with the CPU: the emulated one, or, with HPM_TEST_DEVICE=cuda, a
/// GPU, whose waits are not counted.
at::Device test_device();

/// What the host did with the emulated device. Each counter but `operations` and `uploads` counts moments in which the
/// host would wait until a GPU has done everything that was asked of it.
struct DeviceCounts {
  int64_t operations = 0;  ///< kernels
  int64_t items = 0;       ///< item(): one value fetched
  int64_t downloads = 0;   ///< copies from the device
  int64_t sizes = 0;       ///< operations whose result has a size that the host must ask for: nonzero, masks as indices
  int64_t waiting_uploads = 0;  ///< copies to the device without non_blocking: PyTorch waits for these
  int64_t uploads = 0;          ///< copies to the device with non_blocking

  int64_t synchronisations() const { return items + downloads + sizes + waiting_uploads; }
  DeviceCounts operator-(const DeviceCounts& before) const;
};
DeviceCounts device_counts();

/// While it lives, waits are noted with the operation before them: for whoever looks for one.
class WaitTrace {
 public:
  WaitTrace();
  ~WaitTrace();
  static std::map<std::string, int64_t> seen();
};

}  // namespace hpm::test
