#include "hpm/surrogates/surrogate.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/surrogates/region.h"

namespace hpm {
namespace {

Tensor assigned_logits(const SurrogateInput& in, Assignment kind, double temperature, const HeadOptions& options = {}) {
  return context_logits(in.head, in.context, in.head.embed(in.z), assign(in.o, kind, temperature), in.index, options);
}

template <int hundredths>
Tensor soft_logits(const SurrogateInput& in) {
  return assigned_logits(in, Assignment::soft, hundredths / 100.);
}

/// The average of the HPM-side surrogates' logits, each divided by its row's standard deviation.
Tensor mean_logits(const SurrogateInput& in) {
  Tensor sum;
  for (const char* name : {"ste", "hard", "soft", "fc", "stable"}) {
    const auto logits = find_surrogate(name).logits(in);
    const auto scaled = logits / (logits.std(1, true, true) + 1e-12);
    sum = sum.defined() ? sum + scaled : scaled;
  }
  return sum / 5;
}

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<Surrogate>& table() {
  static std::vector<Surrogate> table = {
      {"ste", "hard assignment forward, soft backward: the paper's own gradient",
       [](const SurrogateInput& in) { return assigned_logits(in, Assignment::ste, in.head.temperature); }},
      {"hard", "assignment as a constant: the exact local gradient",
       [](const SurrogateInput& in) { return assigned_logits(in, Assignment::hard, 1); }},
      {"fc", "FC logits alone: changing the assignment", [](const SurrogateInput& in) { return in.o; }},
      {"stable", "lambda = 1: the dataset prototypes alone",
       [](const SurrogateInput& in) { return stable_logits(in.head, in.head.embed(in.z)); }},
      {"soft", "soft assignment, temperature .25", soft_logits<25>},
      {"soft1", "soft assignment, temperature 1", soft_logits<100>},
      {"soft4", "soft assignment, temperature 4", soft_logits<400>},
      {"detached", "prototypes as constants in the gradient",
       [](const SurrogateInput& in) { return assigned_logits(in, Assignment::hard, 1, {.detached = true}); }},
      {"region", "the exact piecewise form: choose the FC region, win its margin", nullptr, region_objective},
      {"mean", "average of ste, hard, soft, fc and stable, each by its row's deviation", mean_logits},
      {"base", "transfer from the model before HPM",
       [](const SurrogateInput& in) { return in.peers.base.logits(in.x); }, nullptr, false},
      {"control", "transfer from the matched fine-tuned FC model",
       [](const SurrogateInput& in) { return in.peers.control.logits(in.x); }, nullptr, false},
      {"query", "no gradient: Square on the true margin", nullptr, nullptr},
  };
  return table;
}

}  // namespace

const std::vector<Surrogate>& surrogates() { return table(); }

void add_surrogate(Surrogate surrogate) {
  require(!surrogate.name.empty() && (surrogate.logits || surrogate.objective),
          "add_surrogate: needs a name, and logits or an objective");
  for (const auto& known : table())
    require(known.name != surrogate.name, "add_surrogate: there is a surrogate {} already", surrogate.name);
  table().push_back(std::move(surrogate));
}

const Surrogate& find_surrogate(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& surrogate : surrogates()) {
    if (surrogate.name == name) return surrogate;
    names.push_back(surrogate.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("surrogate: needs one of {}, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

std::string coincides_with(const std::string& name, const HpmHead& head, ContextKind context) {
  if (head.lambda == 1 && is_one_of(name, {"hard", "stable", "soft", "soft1", "soft4", "detached"})) return "ste";
  // In reference the prototypes do not depend on the assignment, so every way to assign gives the same logits.
  if (context == ContextKind::reference && is_one_of(name, {"hard", "soft", "soft1", "soft4", "detached", "region"}))
    return "ste";
  return {};
}

std::string unavailable(const std::string& name, ContextKind context, const Peers& peers) {
  if (name == "base" && !peers.base) return "needs --base FILE";
  if (name == "control" && !peers.control) return "needs --control FILE";
  if (name == "region" && context == ContextKind::joint)
    return "a region is one sample's; in joint the assignment of all moves the prototypes";
  return {};
}

}  // namespace hpm
