#include "hpm/models/normalisation.h"

#include <algorithm>

#include "hpm/core/error.h"
#include "hpm/models/card.h"
#include "hpm/models/torchscript.h"

namespace hpm {

bool normalisation_known(const Classifier& classifier) {
  return !classifier.info().normalisation.identity() || is_torchscript(classifier);
}

void require_normalisation(const Classifier& classifier, std::string_view purpose) {
  const auto& file = classifier.info().file;
  require(normalisation_known(classifier),
          "{}: its input normalisation is not known, and {}. Give --mean and --std as they were in training (--mean 0 "
          "--std 1: none), or write them into {}",
          file.empty() ? classifier.info().architecture : file, purpose,
          file.empty() ? "the model's card" : card_path(file));
}

std::string text_of(const Normalisation& normalisation) {
  return fmt::format("mean {} and std {}", fmt::join(normalisation.mean, ","), fmt::join(normalisation.std, ","));
}

std::vector<std::string> unlikely_values(const Normalisation& normalisation) {
  std::vector<std::string> lines;
  const auto look = [&](const char* name, const std::vector<double>& values) {
    if (std::any_of(values.begin(), values.end(), [](double v) { return v > 1; }))
      lines.push_back(fmt::format("{} {} is above 1: it is in units of the input range [0,1]; divide by 255?", name,
                                  fmt::join(values, ",")));
  };
  look("mean", normalisation.mean), look("std", normalisation.std);
  return lines;
}

}  // namespace hpm
