// defines: StateDict, StoredNormalisation, WeightsCandidate, peel(), strip_names(), wrapper_rank()
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

/// A set of weights that a checkpoint holds, by the name that `--key` takes.
struct WeightsCandidate {
  std::string key;  ///< "state_dict", "ema.state_dict"; "." for the tensors at the file's top
  size_t tensors = 0;
  friend bool operator==(const WeightsCandidate&, const WeightsCandidate&) = default;
};

/// The weights of a checkpoint without their wrapping.
struct StateDict {
  NamedStoredTensors tensors;        ///< in the file's order
  std::vector<std::string> peeled;   ///< what was taken off, outermost first: `key "state_dict"`, `prefix "module."`
  std::vector<std::string> ignored;  ///< what stood among the tensors and was left out: "name (dict of 3)"
  std::vector<std::string> unread;   ///< objects beside the weights, which were not read: "log (collections.Counter)"
  std::map<std::string, std::string> scalars;  ///< numbers and texts beside the weights, e.g. epoch
  std::optional<StoredNormalisation> normalisation;
  std::vector<WeightsCandidate> candidates;  ///< all sets of weights of the file
  std::string key;                           ///< the one that was taken
  std::vector<std::string> warnings;         ///< for the user: which was taken where nobody had chosen
  std::string prefix;                        ///< what all names of tensors had lost
};

/// Finds the weights in what a checkpoint holds: dictionaries of tensors, under any keys, in lists, and as whole
/// modules. Where there are several, `key` chooses: the path to one ("ema.state_dict"), or a prefix of its tensors'
/// names. Without it the usual names are preferred in this order: state_dict, model_state_dict, model, net, last, best,
/// then the tensors at the top, then others, averages (ema, swa) last; a warning names the rest. Throws Error where the
/// choice is open and where there are no tensors, UsageError with the candidates for an unknown key.
StateDict peel(Value root, const std::string& name = "checkpoint", const std::string& key = {});

/// The last step of peel(), for tensors that come without wrapping. Takes off
///   - the longest prefix that all names share ("module.", "backbone.net."), and wrappers inside names ("_orig_mod.");
///   - the input normalisation: two buffers of a value per channel, called mean and std, mu and sigma, or sub and div
///     (also new_mean, image_std, ...), of the model itself or alone in a layer near the top;
///   - counters and metrics (n_averaged, train_acc.correct): whole numbers and single values outside the prefix that
///   all
///     other tensors share;
///   - second names of the same weights (a module that is registered twice).
/// `key` takes the tensors below one prefix alone.
void strip_names(StateDict& state, const std::string& name = "checkpoint", const std::string& key = {});

/// Where a key or prefix stands in the order of preference; the smallest is taken.
size_t wrapper_rank(const std::string& key);

}  // namespace hpm
