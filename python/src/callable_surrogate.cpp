#include "callable_surrogate.h"

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
  Surrogate surrogate{.name = given.name, .summary = given.summary, .identity = given.identity, .logits = logits};
  surrogate.through_network = false;
  surrogate.checked = surrogate.stand_in = true;
  surrogate.own_passes = 1;
  return surrogate;
}

}  // namespace hpm::python
