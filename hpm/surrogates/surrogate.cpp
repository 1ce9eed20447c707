#include "hpm/surrogates/surrogate.h"

#include <algorithm>
#include <set>

#include "hpm/core/error.h"
#include "hpm/core/fields.h"

namespace hpm {
namespace {

/// White-box surrogates and objectives keep their order among each other.
int place_of(SurrogateKind kind) {
  switch (kind) {
    case SurrogateKind::transfer: return 1;
    case SurrogateKind::query: return 2;
    case SurrogateKind::decision: return 3;
    default: return 0;
  }
}

const Surrogate& find(const std::vector<Surrogate>& all, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& surrogate : all) {
    if (surrogate.name == name) return surrogate;
    names.push_back(surrogate.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("surrogate: needs one of {}, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

}  // namespace

std::string to_string(SurrogateKind kind) {
  constexpr const char* names[] = {"white-box", "objective", "transfer", "query", "decision"};
  return names[static_cast<size_t>(kind)];
}

std::vector<Surrogate> selected(const std::vector<Surrogate>& all, const SurrogateSelection& selection) {
  std::vector<std::string> names = selection.names;
  if (names.empty())
    for (const auto& surrogate : all)
      if (!surrogate.only_named && (surrogate.quick || !selection.quick)) names.push_back(surrogate.name);
  for (const auto& name : selection.more)
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  require(std::set<std::string>(names.begin(), names.end()).size() == names.size(),
          "msa: a surrogate is named twice: {}", fmt::join(names, ","));
  std::vector<Surrogate> chosen;
  for (const auto& name : names) chosen.push_back(find(all, name));
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const auto& a, const auto& b) { return place_of(a.kind) < place_of(b.kind); });
  return chosen;
}

int64_t white_box_count(const std::vector<Surrogate>& surrogates) {
  return std::count_if(surrogates.begin(), surrogates.end(),
                       [](const auto& surrogate) { return surrogate.kind == SurrogateKind::white_box; });
}

Surrogate own_surrogate(const std::string& summary) {
  return {.name = "self",
          .summary = summary,
          .logits = [](const SurrogateInput& in) { return in.o; },
          .leads = true,
          .checked = true};
}

Surrogate transfer_surrogate(const std::string& name, const std::string& summary, const Classifier& network,
                             const std::string& flag) {
  Surrogate surrogate{.name = name, .summary = summary, .kind = SurrogateKind::transfer};
  surrogate.through_network = false;
  surrogate.own_passes = 1;
  if (!network) {
    surrogate.needs = flag, surrogate.unavailable = "needs " + flag;
    return surrogate;
  }
  surrogate.logits = [network](const SurrogateInput& in) { return network.logits(in.x); };
  surrogate.passes = [network] { return network.passes(); };
  return surrogate;
}

std::vector<Surrogate> peer_surrogates(const Peers& peers) {
  return {transfer_surrogate("base", "transfer from the model before the defence", peers.base, "--base FILE"),
          transfer_surrogate("control", "transfer from the matched model without the defence", peers.control,
                             "--control FILE")};
}

Surrogate query_surrogate() {
  return {.name = "query",
          .summary = "no gradient: Square on the true margin",
          .kind = SurrogateKind::query,
          .quick = false};
}

Surrogate decision_surrogate() {
  return {.name = "decision",
          .summary = "no scores: RayS on the predicted label",
          .kind = SurrogateKind::decision,
          .only_named = true};
}

}  // namespace hpm
