// defines: normalisation_known(), require_normalisation(), text_of(), unlikely_values()
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hpm/models/classifier.h"

namespace hpm {

/// Whether it is known how the network's input is normalised: by values that were given or found, mean 0 and std 1
/// among them, or inside a TorchScript module. Otherwise none is applied, and the logits may be nonsense.
bool normalisation_known(const Classifier& classifier);

/// Throws UsageError unless normalisation_known(). `purpose`: what it is needed for, the end of a sentence.
void require_normalisation(const Classifier& classifier, std::string_view purpose);

/// "mean 0.5,0.5,0.5 and std 0.2,0.2,0.2".
std::string text_of(const Normalisation& normalisation);

/// What is probably a mistake in these values: they are in units of the input range [0,1], people give them for
/// [0,255]. A line each.
std::vector<std::string> unlikely_values(const Normalisation& normalisation);

}  // namespace hpm
