#include "hpm/core/error.h"
#include "hpm/evaluation/results/plausible_impl.h"

namespace hpm {
namespace {

// Beyond these no evaluation goes. Whoever reads results takes memory for as many classes and images.
constexpr int64_t kMostImages = 100'000'000, kMostClasses = 1'000'000, kLastIndex = 1'000'000'000'000;

}  // namespace

void require_plausible(const RunResults& x, const std::string& where) {
  const auto within = [&](const char* name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
      fail("{}: \"{}\" needs a number from {} to {}, but holds {}", where, name, least, most, value);
  };
  within("n", x.n, 1, kMostImages);
  within("model_info.classes", x.model_info.classes, 0, kMostClasses);
  within("first_index", x.first_index, 0, kLastIndex);
  for (const auto index : x.indices) within("indices", index, 0, kLastIndex);
  for (const auto label : x.labels) within("labels", label, 0, kMostClasses - 1);
  const auto length = [&](const std::string& place, const char* name, size_t got) {
    if (got != 0 && got != static_cast<size_t>(x.n))
      fail("{}: \"{}\" needs one value for each of the {} images, but has {}", place, name, x.n, got);
  };
  length(where, "indices", x.indices.size());
  length(where, "labels", x.labels.size());
  length(where, "predictions.clean", x.predictions.clean.size());
  length(where, "predictions.adversarial", x.predictions.adversarial.size());
  const auto peer = [&](const std::string& place, const std::optional<PairedModel>& other) {
    if (!other) return;
    length(place, "robust", other->robust.size());
    if (other->wins < 0 || other->losses < 0 || other->wins + other->losses > x.n)
      fail("{}: \"wins\" and \"losses\" need to be of the {} images, but are {} and {}", place, x.n, other->wins,
           other->losses);
  };
  const auto flags = [&](const std::string& place, const ContextResult& c) {
    length(place, "clean_correct", c.clean_correct.size());
    length(place, "robust", c.robust.size());
    peer(place + ": control", c.control);
  };
  flags(where, x.first);
  for (size_t i = 0; i < x.contexts.size(); ++i) flags(fmt::format("{}: contexts[{}]", where, i), x.contexts[i]);
  peer(where + ": base", x.base);
  for (size_t i = 0; i < x.attacks.size(); ++i)
    length(fmt::format("{}: attacks[{}]", where, i), "robust", x.attacks[i].robust.size());
}

}  // namespace hpm
