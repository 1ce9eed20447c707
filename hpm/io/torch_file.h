// defines: TorchFile, read_torch_file(), container_of_torch_file()
#pragma once
#include <string>

#include "hpm/io/bytes.h"
#include "hpm/io/value.h"

namespace hpm {

inline constexpr const char* kTorchScript = "TorchScript";

struct TorchFile {
  std::string container;  ///< "PyTorch zip", "PyTorch legacy pickle" or kTorchScript
  Value root;             ///< none for TorchScript, whose code is not run here
};

/// True for a zip file and for a legacy pickle of PyTorch.
bool is_torch_file(const ByteSource& source);

/// TorchFile::container, from the structure alone.
std::string container_of_torch_file(const ByteSource& source);

/// What torch.save wrote (torch/serialization.py), without running code. Throws Error for anything else.
TorchFile read_torch_file(const ByteSource& source);
TorchFile read_torch_file(const std::string& path);

}  // namespace hpm
