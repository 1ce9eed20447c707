// defines: NamedTensors, CheckpointFile, read_checkpoint(), container_of(), write_safetensors(), to_tensor(),
// to_stored()
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "hpm/io/state_dict.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// uint16, uint32 and uint64, which LibTorch does not compute with, become int32, int64 and int64; Error beyond these.
at::Tensor to_tensor(const StoredTensor& stored);
/// Takes the memory over instead of copying it.
at::Tensor to_tensor(StoredTensor&& stored);
/// A contiguous copy on the CPU. Throws Error for types that files do not hold (complex, quantized, ...).
StoredTensor to_stored(const at::Tensor& tensor);

/// What a file of weights holds, wrappers taken off.
struct CheckpointFile {
  std::string container;  ///< "safetensors", "PyTorch zip", "PyTorch legacy pickle" or "TorchScript"
  std::vector<std::string> peeled, ignored, unread, warnings;  ///< see StateDict
  std::vector<WeightsCandidate> candidates;                    ///< see StateDict; empty for TorchScript
  std::string key, prefix;                                     ///< see StateDict
  NamedTensors tensors;                                        ///< in the file's order; empty for TorchScript
  std::map<std::string, std::string>
      metadata;                   ///< safetensors' __metadata__, or the numbers and texts beside the weights
  std::string sha256;             ///< of the file
  std::vector<double> mean, std;  ///< the input normalisation that stood among the weights; empty where none did
};

/// The container of a checkpoint, without reading its tensors. Throws Error as read_checkpoint does.
std::string container_of(const std::string& path);

/// Reads a checkpoint of any container without running code from it. A TorchScript archive is recognised, not loaded.
/// Throws Error for a missing, broken, hostile or foreign file. Takes the memory of the tensors and little more. `key`
/// chooses among several sets of weights (see peel).
CheckpointFile read_checkpoint(const std::string& path, const std::string& key = {});

/// Writes tensors (of any device, strided or not) to a safetensors file, complete or not at all.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace hpm
