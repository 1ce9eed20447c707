// defines: PeerRequest, LoadedPeer, load_peer(), peer_accuracy()
#pragma once
#include <string>
#include <vector>

#include "hpm/evaluation/evaluation.h"
#include "hpm/models/card.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// A model that another one is compared with, as it was asked for.
struct PeerRequest {
  std::string name;  ///< "base" or "control"
  std::string path;
  ModelCard given = {};  ///< what was said about the model; the peer's own normalisation comes first
  bool allow_torchscript = false;
};

struct LoadedPeer {
  Classifier classifier;
  std::vector<std::string> notes, warnings;
  std::vector<std::string> findings;  ///< what a reader of the results must know: where its normalisation is from
};

/// Loads the FC layer's classifier of a peer. Its normalisation is, in this order: its own (card, metadata, buffers,
/// architecture, inside a TorchScript module), what was given, and that of `model` where both have the same
/// architecture. Throws UsageError where none of these is known (a comparison with a network that sees other inputs
/// than in training flatters the model), or for another number of classes.
LoadedPeer load_peer(const PeerRequest& request, const Classifier& model);

/// The check "peer accuracy": suspect where the peer's clean accuracy is more than 10 points below the model's and
/// McNemar's exact test says that this is no chance (p < .01). A base or a matched control comes from the same
/// training, so such a gap means another normalisation, data set or checkpoint, and the model looks better for it. A
/// peer that is as far above is reported, not judged: a defence may cost clean accuracy, and that flatters nobody.
/// Flags [n] bool, of the same images.
CheckOutcome peer_accuracy(const std::string& name, const Tensor& model_correct, const Tensor& peer_correct);

}  // namespace hpm
