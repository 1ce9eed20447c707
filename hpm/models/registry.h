// defines: Architecture, architectures(), make_network(), make_classifier()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/models/classifier.h"

namespace hpm {

/// A named architecture of the table in registry.cpp.
struct Architecture {
  std::string name;     ///< e.g. "resnet18_cifar"
  std::string summary;  ///< one line for the help
  std::shared_ptr<Network> (*make)(int64_t classes, const std::vector<int64_t>& input_shape);
};

/// All named architectures; the one table a new one is added to.
const std::vector<Architecture>& architectures();

/// A newly initialised network: a name of the table or a LAYERS string. input_shape = {C,H,W}. Throws UsageError, with the
/// nearest known name, for an unknown one.
std::shared_ptr<Network> make_network(const std::string& architecture, int64_t classes, const std::vector<int64_t>& input_shape);

/// make_network with a normalisation, as a Classifier. `seed` chooses the initial weights.
Classifier make_classifier(const std::string& architecture, int64_t classes, const std::vector<int64_t>& input_shape,
                           const Normalisation& normalisation, uint64_t seed);

}  // namespace hpm
