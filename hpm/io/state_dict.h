// defines: StateDict, StoredNormalisation, peel(), strip_names()
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hpm/io/stored_tensor.h"
#include "hpm/io/value.h"

namespace hpm {

/// The input normalisation that a module kept in buffers: values per channel.
struct StoredNormalisation {
  StoredTensor mean, std;
};

/// The weights of a checkpoint without their wrapping.
struct StateDict {
  NamedStoredTensors tensors;        ///< in the file's order
  std::vector<std::string> peeled;   ///< what was taken off, outermost first: `key "state_dict"`, `prefix "module."`
  std::vector<std::string> ignored;  ///< what stood among the tensors and is none: "name (dict of 3)"
  std::map<std::string, std::string> scalars;  ///< numbers and texts beside the weights, e.g. epoch
  std::optional<StoredNormalisation> normalisation;
};

/// Finds the state_dict in what a checkpoint holds: under the usual keys (state_dict, model_state_dict, model, net,
/// last, best, ema_*), in lists of one, under prefixes that all names share (module., model., module.0., _orig_mod.).
/// Where several keys hold weights, the first in that order is taken and the others are named in `peeled`. Throws Error
/// that lists the top-level keys when there are no tensors or the choice is open.
StateDict peel(Value root, const std::string& name = "checkpoint");

/// The last step of peel(), for tensors that come without wrapping: takes off the prefixes that all names share, the
/// input normalisation (buffers mean and std, or mu and sigma, of the model or of a layer before it), and the second
/// names that some files give to their first layers.
void strip_names(StateDict& state);

}  // namespace hpm
