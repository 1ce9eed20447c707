#include "hpm/surrogates/model_space.h"

#include <memory>

#include "hpm/core/error.h"
#include "hpm/core/norms.h"

namespace hpm {
namespace {

constexpr const char *kAverage = "gmsa-avg", *kSmallest = "gmsa-min";

enum class Form { average, smallest };

/// The models that a defence adapted to so far, each as its pass over the batch that it adapted to.
class ModelSpace {
 public:
  ModelSpace(std::function<Tensor(const SurrogateInput&)> own, Form form) : own_(std::move(own)), form_(form) {}

  void adapt(const Output& pass, bool anew) {
    if (anew) models_.clear();
    models_.push_back({pass.features.defined() ? pass.features.detach() : Tensor(), pass.logits.detach()});
  }

  /// [B]: of each row the mean or the smallest of the models' losses.
  Tensor losses(const SurrogateInput& in, const Loss& loss) const {
    require(!models_.empty() && models_.back().logits.size(0) == in.o.size(0),
            "gmsa: needs the pass over the whole batch of {} rows before its first gradient", in.o.size(0));
    std::vector<Tensor> all;
    for (const auto& model : models_) all.push_back(loss_values(answers(in, model), loss));
    const auto stacked = at::stack(all);
    return form_ == Form::average ? stacked.mean(0) : stacked.amin(0);
  }

 private:
  /// [B,K]: what the model that adapted to `mates` says of each row.
  Tensor answers(const SurrogateInput& in, const Output& mates) const {
    const auto groups = std::min(in.o.size(0), kModelSpaceGroups);
    const auto group = at::arange(in.o.size(0), in.o.options().dtype(at::kLong)).remainder(groups);
    Tensor all;
    for (int64_t g = 0; g < groups; ++g) {
      const auto moved = group.eq(g);
      const auto z = in.z.defined() ? at::where(per_row(moved, in.z), in.z, mates.features) : Tensor();
      const auto o = at::where(moved.unsqueeze(1), in.o, mates.logits);
      const auto logits = own_({in.x, z, o, in.index});
      all = all.defined() ? at::where(moved.unsqueeze(1), logits, all) : logits;
    }
    return all;
  }

  std::function<Tensor(const SurrogateInput&)> own_;
  Form form_;
  std::vector<Output> models_;
};

Surrogate in_form(const Surrogate& own, bool whole_batch, Form form) {
  const bool average = form == Form::average;
  Surrogate surrogate{.name = average ? kAverage : kSmallest,
                      .summary = fmt::format("the {} loss of all models that the defence adapted to so far (GMSA)",
                                             average ? "mean" : "smallest"),
                      .kind = SurrogateKind::objective};
  const auto space = std::make_shared<ModelSpace>(own.logits, form);
  surrogate.objective = [space](const SurrogateInput& in, const Loss& loss) { return space->losses(in, loss); };
  surrogate.adapt = [space](const Output& pass, bool anew) { space->adapt(pass, anew); };
  surrogate.own_passes = own.own_passes * kModelSpaceGroups;
  surrogate.through_network = own.through_network;
  surrogate.quick = false;
  surrogate.unavailable = own.unavailable;
  if (!whole_batch) {
    surrogate.only_named = true;
    surrogate.unavailable = "it attacks whole batches: the context joint";
  }
  return surrogate;
}

}  // namespace

bool is_model_space_name(const std::string& name) { return name == kAverage || name == kSmallest; }

std::vector<Surrogate> model_space_surrogates(const Surrogate& own, bool whole_batch) {
  require(own.logits != nullptr, "gmsa: needs a surrogate with logits, but got {}", own.name);
  return {in_form(own, whole_batch, Form::average), in_form(own, whole_batch, Form::smallest)};
}

}  // namespace hpm
