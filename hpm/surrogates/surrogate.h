// defines: Surrogate, SurrogateKind, SurrogateInput, SurrogateSelection, selected(), white_box_count(), Peers,
// own_surrogate(), transfer_surrogate(), peer_surrogates(), query_surrogate(), decision_surrogate()
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/losses.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// How an attacker uses a surrogate. The order is the order in which the Mixed Surrogate Attack runs them, so that what
/// transfer and queries break is counted as found beyond the white-box surrogates.
enum class SurrogateKind {
  white_box,  ///< logits computed from the defended network's own pass
  objective,  ///< an objective of its own instead of logits, from the defended network's own pass
  transfer,   ///< another network's logits
  query,      ///< no gradient: random search on the target's margin
  decision,   ///< no scores: search by the predicted label alone
};

std::string to_string(SurrogateKind kind);  ///< "white-box", "objective", "transfer", "query" or "decision"

/// One forward pass of the defended network: what a surrogate is computed from.
struct SurrogateInput {
  const Tensor& x;      ///< [N,C,H,W] in [0,1]: gradients are taken for it, or for some of its rows
  const Tensor& z;      ///< [N,D] penultimate features; undefined for a black box
  const Tensor& o;      ///< [N,K] the network's own logits
  const Tensor& index;  ///< [N] int64 (CPU): numbers of the images that the rows are versions of
};

/// A differentiable stand-in for one target of a defence, ready to be attacked. The target decides what is broken; the
/// surrogate only gives gradients.
struct Surrogate {
  std::string name = {};     ///< as on the command line
  std::string summary = {};  ///< what it approximates, one line
  /// What tells it from another one of the same name and summary: a run is resumed with the same alone.
  std::string identity = {};
  SurrogateKind kind = SurrogateKind::white_box;
  /// Logits [N,K]; white_box and transfer.
  std::function<Tensor(const SurrogateInput&)> logits = nullptr;
  /// An objective [N] to be maximised; Loss::targets names the class that it aims at.
  std::function<Tensor(const SurrogateInput&, const Loss&)> objective = nullptr;
  /// Of a surrogate that attacks a whole batch in rounds (GMSA): told the defence's pass over the batch as it is
  /// (`anew`), then over what each round found, before the next one. Copies share what they were told.
  std::function<void(const Output& pass, bool anew)> adapt = nullptr;
  /// Image passes of a network of its own so far; transfer.
  std::function<Passes()> passes = nullptr;

  /// Passes that one gradient takes beside the target's verdict, of this network or another one; 0: the verdict's own
  /// pass is differentiated.
  int64_t own_passes = 0;
  int64_t averages = 1;         ///< passes, each with random numbers of its own, that one gradient is the mean of
  bool through_network = true;  ///< it differentiates the defended network's own pass; false: images alone reach it
  /// Its gradient is the target's exact gradient: attacked as often as an undefended network is.
  bool exact = false;
  /// It attacks every correctly classified image, so that "under this surrogate alone" is an exact figure: what an
  /// evaluation with one surrogate would report.
  bool leads = false;
  bool only_named = false;       ///< part of no version: it attacks where it is named
  bool quick = true;             ///< part of the version quick; the other versions run every surrogate
  bool checked = false;          ///< the checks look at it, where it attacked
  /// It takes the place of the model's own gradient: where that leads nowhere, the checks ask whether this one does.
  bool stand_in = false;
  bool in_crowds = false;        ///< used by the studies of colluding and of malicious neighbours
  std::string same_as = {};      ///< an earlier surrogate that gives the same logits for this target: it runs once
  std::string unavailable = {};  ///< why it cannot run here
  std::string needs = {};        ///< the option that would make it run, where there is one
  std::string note = {};         ///< what a reader of the results must know about it
};

/// Which surrogates are asked for.
struct SurrogateSelection {
  std::vector<std::string> names = {};  ///< none: those of the version
  std::vector<std::string> more = {};   ///< beside those
  bool quick = true;                    ///< the version's: those marked quick, or all
};

/// Those of `all` that are selected, white-box first, then transfer, then query and decision; within a kind in the
/// order of the names given, else of `all`. Throws UsageError for an unknown name, with the nearest known one, and for
/// a name given twice.
std::vector<Surrogate> selected(const std::vector<Surrogate>& all, const SurrogateSelection& selection);

/// How many of them are white-box surrogates with logits.
int64_t white_box_count(const std::vector<Surrogate>& surrogates);

/// Models that adversarial images may transfer from; empty where not given.
struct Peers {
  Classifier base;     ///< the model before the defence was attached
  Classifier control;  ///< the matched fine-tuned model without the defence
};

/// The defended network's own gradient: `self`, which leads. (A defence marks it `exact` where it is the prediction's.)
Surrogate own_surrogate(const std::string& summary);

/// Another network as a surrogate. Without one (`network` is empty) it says that it is unavailable: needs `flag`.
Surrogate transfer_surrogate(const std::string& name, const std::string& summary, const Classifier& network,
                             const std::string& flag);

/// The surrogates base and control of a model without its defence, or with another head.
std::vector<Surrogate> peer_surrogates(const Peers& peers);

/// Square on the target's own margin.
Surrogate query_surrogate();
/// RayS on the target's predicted labels.
Surrogate decision_surrogate();

}  // namespace hpm
