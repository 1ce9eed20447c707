// defines: load_script(), script_classifier_for(): what load_classifier does with TorchScript
#pragma once
#include "hpm/models/checkpoint.h"

namespace hpm {

/// The file at `path` is TorchScript: its module, described by `card`, in `loaded`. `allow`: without a SHA-256.
LoadedClassifier load_script(LoadedClassifier loaded, const std::string& path, const ModelCard& card,
                             const std::vector<int64_t>& data_shape, bool allow);

/// The module that the architecture "torchscript:NAME" names, for the weights in `checkpoint` to be put into; it needs
/// `allow`, or the SHA-256 in its own card. Empty for other architectures.
Classifier script_classifier_for(const std::string& architecture, const std::string& checkpoint,
                                 const std::vector<int64_t>& input_shape, bool allow);

}  // namespace hpm
