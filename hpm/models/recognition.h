// defines: recognise(), recognised(), Misfits, misfits(), NearestArchitecture, nearest_architecture(),
// unrecognised_text()
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hpm/io/tensors.h"

namespace hpm {

/// The architecture that fits keys and shapes: a name of the registry or a LAYERS string. What keys and shapes cannot
/// tell is assumed; `notes` says what. Throws Error that lists the keys when none fits.
std::string recognised(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                       std::vector<std::string>& notes);

/// The same; where none fits, throws Error that names the nearest architecture and the keys that do not fit it.
std::string recognise(const NamedTensors& tensors, const std::vector<int64_t>& input_shape,
                      std::vector<std::string>& notes);

/// What keeps tensors from being the state of a network.
struct Misfits {
  std::vector<std::string> missing, unexpected, misshapen;  ///< a line for each key
  bool empty() const { return missing.empty() && unexpected.empty() && misshapen.empty(); }
  size_t count() const { return missing.size() + unexpected.size() + misshapen.size(); }
  /// The counts, and of each kind the first dozen keys.
  std::string text() const;
};

/// Compares `tensors` with the state of a network. num_batches_tracked may be absent or left over: evaluation does not
/// read it, and older PyTorch did not save it.
Misfits misfits(const NamedTensors& state, const NamedTensors& tensors);

/// The known architecture that shares most keys with a file, and what does not fit it.
struct NearestArchitecture {
  std::string name;
  double share = 0;  ///< of the keys of both that are the same, in [0,1]
  Misfits misfits;
};
/// None where no architecture shares a quarter of the keys.
std::optional<NearestArchitecture> nearest_architecture(const NamedTensors& tensors,
                                                        const std::vector<int64_t>& input_shape);

/// Why no architecture fits, for a message.
std::string unrecognised_text(const NamedTensors& tensors, const std::vector<int64_t>& input_shape);

}  // namespace hpm
