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

/// Loads weights into the architecture that `given`, else the card beside the file, else the file's metadata, else
/// keys and shapes name. `data_shape` {C,H,W} (may be empty) is taken where no input shape is given. Missing,
/// unexpected and misshapen keys are listed in full; nothing loads half. The normalisation is that of `given`, the
/// card, the metadata, buffers among the weights, or the architecture, in this order. Weights become float32; the
/// network takes the memory of the file's tensors over, so that loading needs little more than their size.
/// A TorchScript file, or one that an architecture "torchscript:NAME" names, runs code when it is loaded: it needs
/// `allow_torchscript`, or its SHA-256 in its card.
LoadedClassifier load_classifier(const std::string& path, const ModelCard& given = {},
                                 const std::vector<int64_t>& data_shape = {}, bool allow_torchscript = false);

}  // namespace hpm
