// defines: Architecture, architectures(), own_normalisation(), make_network(), make_classifier()
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hpm/models/classifier.h"
#include "hpm/models/resnet.h"

namespace hpm {

/// A named architecture of the table in registry.cpp.
struct Architecture {
  std::string name;     ///< e.g. "resnet18_cifar"
  std::string summary;  ///< one line for the help
  std::function<std::shared_ptr<Network>(int64_t classes, const std::vector<int64_t>& input_shape)> make;
  std::optional<ResNetSpec> resnet = {};  ///< recognises checkpoints without making the network
};

/// All named architectures. A new one is added here. Families with numbers in their names (wrn28_10) are not in the
/// table: make_network makes them from the name.
const std::vector<Architecture>& architectures();

/// The input normalisation that is part of an architecture: DeepMind's variants have one for each number of classes.
/// Identity for all others.
Normalisation own_normalisation(const std::string& architecture, int64_t classes);

/// A newly initialised network: a name of the table or a LAYERS string. input_shape = {C,H,W}. Throws UsageError, with
/// the nearest known name, for an unknown one.
std::shared_ptr<Network> make_network(const std::string& architecture, int64_t classes,
                                      const std::vector<int64_t>& input_shape);

/// make_network with a normalisation, as a Classifier. `seed` chooses the initial weights.
Classifier make_classifier(const std::string& architecture, int64_t classes, const std::vector<int64_t>& input_shape,
                           const Normalisation& normalisation, uint64_t seed);

}  // namespace hpm
