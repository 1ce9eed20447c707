#include "callable_defence.h"

#include "callable_network.h"
#include "hpm/core/error.h"

namespace hpm::python {

Surrogate as_surrogate(const CallableSurrogate& given, int64_t classes) {
  const auto logits = [given, classes](const SurrogateInput& in) {
    const py::gil_scoped_acquire gil;
    const auto what = fmt::format("the surrogate \"{}\"", given.name);
    const auto out = call_for_logits(*given.call, {in.x}, classes, what);
    if (at::GradMode::is_enabled() && in.x.requires_grad() && !out.requires_grad())
      throw py::value_error(what + " gives logits without a gradient; a stand-in must be differentiable in the images");
    return out;
  };
  Surrogate surrogate{.name = given.name, .summary = given.summary, .logits = logits};
  surrogate.through_network = false;
  return surrogate;
}

CallableDefence::CallableDefence(Classifier target, std::vector<Surrogate> surrogates, const Peers& peers,
                                 const Tensor& index, int64_t company)
    : target_(std::move(target)),
      surrogates_{own_surrogate("the prediction's own gradient")},
      targets_{{.name = "batch", .coupling = Coupling::batch, .has_company = true}} {
  for (auto& surrogate : surrogates) surrogates_.push_back(std::move(surrogate));
  for (auto& surrogate : peer_surrogates(peers)) surrogates_.push_back(std::move(surrogate));
  surrogates_.push_back(query_surrogate());
  for (const auto& part : index.split(company)) batches_.push_back(part);
}

std::vector<Tensor> CallableDefence::predict_all(const Output& pass, const Tensor&, bool whole_batch) {
  return {whole_batch ? pass.logits : Tensor()};
}

std::vector<Surrogate> CallableDefence::surrogates(size_t, const SurrogateSelection& selection) const {
  return selected(surrogates_, selection);
}

int64_t CallableDefence::starts(const SurrogateSelection& selection) const {
  return std::max<int64_t>(white_box_count(selected(surrogates_, selection)), 1);
}

}  // namespace hpm::python
