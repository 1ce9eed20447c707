// defines: StateDict, peel()
#pragma once
#include <map>
#include <string>
#include <vector>

#include "hpm/io/stored_tensor.h"
#include "hpm/io/value.h"

namespace hpm {

/// The weights of a checkpoint without their wrapping.
struct StateDict {
  NamedStoredTensors tensors;        ///< in the file's order
  std::vector<std::string> peeled;   ///< what was taken off, outermost first: `key "state_dict"`, `prefix "module."`
  std::vector<std::string> ignored;  ///< what stood among the tensors and is none: "name (dict of 3)"
  std::map<std::string, std::string> scalars;  ///< numbers and texts beside the weights, e.g. epoch
};

/// Finds the state_dict in what a checkpoint holds: under the usual keys (state_dict, model_state_dict, model, net,
/// last, best, ema_*), in lists of one, under prefixes that all names share (module., model., module.0., _orig_mod.).
/// Where several keys hold weights, the first in that order is taken and the others are named in `peeled`. Throws Error
/// that lists the top-level keys when there are no tensors or the choice is open.
StateDict peel(Value root, const std::string& name = "checkpoint");

}  // namespace hpm
