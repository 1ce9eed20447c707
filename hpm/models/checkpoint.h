// defines: LoadedClassifier, load_classifier()
#pragma once
#include <string>
#include <vector>

#include "hpm/io/tensors.h"
#include "hpm/models/card.h"
#include "hpm/models/classifier.h"

namespace hpm {

/// A classifier from a file, and what was found and assumed on the way.
struct LoadedClassifier {
  Classifier classifier;
  CheckpointFile file;             ///< without its tensors
  NamedTensors extra;              ///< tensors whose names begin with "hpm."
  std::vector<std::string> notes;  ///< what was recognised and assumed, one line each
  std::vector<std::string> warnings;
};

/// Loads a classifier. The architecture is the one named by `given`, else by the card beside the file, else by the
/// file's metadata; else it is recognised from keys and shapes. The normalisation is that of `given`, else of the card,
/// the metadata, buffers among the weights, or the architecture. `data_shape` {C,H,W} (may be empty) is the input shape
/// where none of these has one; UsageError where the model takes other images. `given.key`, or the card's, chooses
/// among several sets of weights.
///
/// Missing, unexpected and misshapen keys are an error that names them, against the nearest architecture where none was
/// named, and nothing loads half. What stands beside the network and was left out is in `notes` and `warnings`. Weights
/// become float32. The network takes over the memory of the file's tensors, so that loading needs little more than
/// their size.
///
/// A TorchScript file runs code when it is loaded, and so does a checkpoint whose architecture "torchscript:NAME" names
/// one: it needs `allow_torchscript`, or its SHA-256 in its card.
LoadedClassifier load_classifier(const std::string& path, const ModelCard& given = {},
                                 const std::vector<int64_t>& data_shape = {}, bool allow_torchscript = false);

}  // namespace hpm
