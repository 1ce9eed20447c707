// defines: NetworkPart, find_network_part(): a network that stands among other tensors
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/io/tensors.h"

namespace hpm {

/// The tensors below one prefix that are the whole state of a network.
struct NetworkPart {
  std::string prefix;  ///< "model."; empty where all tensors are the network's
  std::string arch;
  NamedTensors tensors;                  ///< under their names without the prefix
  std::vector<std::string> notes;        ///< of the recognition
  NamedTensors beside;                   ///< what belongs neither to it nor to another whole network
  std::vector<WeightsCandidate> others;  ///< further whole networks, by their prefixes without the last dot

  explicit operator bool() const { return !arch.empty(); }
};

/// Gives the architecture whose state `tensors` are, in full, "" where there is none, with notes.
using FitsWhole = std::function<std::string(const NamedTensors& tensors, std::vector<std::string>& notes)>;

/// All tensors, or, where they do not fit together, those below a prefix that do: of several networks (model., ema.)
/// the one whose prefix is preferred. Empty where no part fits.
NetworkPart find_network_part(const NamedTensors& tensors, const FitsWhole& fits);

/// The prefix below which most tensors lie that are not the whole; "" where none has half of them.
std::string bulk_prefix(const NamedTensors& tensors);
/// The tensors below a prefix, without it.
NamedTensors tensors_below(const NamedTensors& tensors, const std::string& prefix);

}  // namespace hpm
