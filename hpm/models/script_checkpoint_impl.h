// defines: load_script(), script_classifier_for(): what load_classifier does with TorchScript
#pragma once
#include "hpm/models/checkpoint.h"

namespace hpm {

/// Loads the TorchScript file at `path`, described by `card`, into `loaded`. `allow`: also without a SHA-256.
LoadedClassifier load_script(LoadedClassifier loaded, const std::string& path, const ModelCard& card,
                             const std::vector<int64_t>& data_shape, bool allow);

/// The module that the architecture "torchscript:NAME" names; the weights of `checkpoint` are to be put into it.
/// Loading it needs `allow`, or the SHA-256 in its own card. Empty for other architectures.
Classifier script_classifier_for(const std::string& architecture, const std::string& checkpoint,
                                 const std::vector<int64_t>& input_shape, bool allow);

}  // namespace hpm
