#include "hpm/surrogates/hpm_surrogates.h"

#include <algorithm>
#include <memory>

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/surrogates/region.h"

namespace hpm {
namespace {

Tensor assigned_logits(const HpmSurrogateInput& in, Assignment kind, double temperature,
                       const HeadOptions& options = {}) {
  return context_logits(in.head, in.context, in.head.embed(in.z), assign(in.o, kind, temperature), in.index, options);
}

Tensor ste_logits(const HpmSurrogateInput& in) { return assigned_logits(in, Assignment::ste, in.head.temperature); }
Tensor hard_logits(const HpmSurrogateInput& in) { return assigned_logits(in, Assignment::hard, 1); }
Tensor fc_logits(const HpmSurrogateInput& in) { return in.o; }
Tensor stable_surrogate_logits(const HpmSurrogateInput& in) { return stable_logits(in.head, in.head.embed(in.z)); }
Tensor detached_logits(const HpmSurrogateInput& in) {
  return assigned_logits(in, Assignment::hard, 1, {.detached = true});
}

template <int hundredths>
Tensor soft_logits(const HpmSurrogateInput& in) {
  return assigned_logits(in, Assignment::soft, hundredths / 100.);
}

/// The average of five surrogates' logits, each divided by its row's standard deviation.
Tensor mean_logits(const HpmSurrogateInput& in) {
  Tensor sum;
  for (const auto part : {ste_logits, hard_logits, soft_logits<25>, fc_logits, stable_surrogate_logits}) {
    const auto logits = part(in);
    const auto scaled = logits / (logits.std(1, true, true) + 1e-12);
    sum = sum.defined() ? sum + scaled : scaled;
  }
  return sum / 5;
}

}  // namespace

const std::vector<HpmSurrogate>& hpm_surrogates() {
  constexpr SameAsSte nowhere{}, in_reference{true, false}, at_lambda_one{false, true}, in_both{true, true};
  static const std::vector<HpmSurrogate> table = {
      {.name = "ste",
       .summary = "hard assignment forward, soft backward: the paper's own gradient",
       .logits = ste_logits,
       .same_as_ste = nowhere,
       .leads = true,
       .checked = true,
       .in_crowds = true},
      {.name = "fc",
       .summary = "FC logits alone: changing the assignment",
       .logits = fc_logits,
       .same_as_ste = nowhere,
       .checked = true,
       .validates = true},
      {.name = "hard",
       .summary = "assignment as a constant: the exact local gradient",
       .logits = hard_logits,
       .same_as_ste = in_both,
       .validates = true},
      {.name = "stable",
       .summary = "lambda = 1: the dataset prototypes alone",
       .logits = stable_surrogate_logits,
       .same_as_ste = at_lambda_one,
       .checked = true},
      {.name = "soft",
       .summary = "soft assignment, temperature .25",
       .logits = soft_logits<25>,
       .same_as_ste = in_both,
       .in_crowds = true},
      {.name = "region",
       .summary = "the exact piecewise form: choose the FC region, win its margin",
       .objective = region_objective,
       .same_as_ste = in_reference,
       .one_sample = true},
      {.name = "soft1",
       .summary = "soft assignment, temperature 1",
       .logits = soft_logits<100>,
       .same_as_ste = in_both,
       .quick = false},
      {.name = "soft4",
       .summary = "soft assignment, temperature 4",
       .logits = soft_logits<400>,
       .same_as_ste = in_both,
       .quick = false},
      {.name = "detached",
       .summary = "prototypes as constants in the gradient",
       .logits = detached_logits,
       .same_as_ste = in_both,
       .quick = false},
      {.name = "mean",
       .summary = "average of ste, hard, soft, fc and stable, each by its row's deviation",
       .logits = mean_logits,
       .same_as_ste = nowhere,
       .quick = false},
  };
  return table;
}

const HpmSurrogate& hpm_surrogate(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& row : hpm_surrogates()) {
    if (row.name == name) return row;
    names.push_back(row.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("surrogate: needs one of {}, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

const HpmSurrogate& leading_hpm_surrogate() {
  const auto& rows = hpm_surrogates();
  return *std::find_if(rows.begin(), rows.end(), [](const auto& row) { return row.leads; });
}

Surrogate bound(const HpmSurrogate& row, const HpmHead& head, const Context& context, LogitScales scales) {
  require(!row.name.empty() && (row.logits || row.objective),
          "surrogate \"{}\": needs a name, and logits or an objective", row.name);
  Surrogate surrogate{.name = row.name, .summary = row.summary};
  surrogate.quick = row.quick, surrogate.leads = row.leads, surrogate.checked = row.checked;
  surrogate.in_crowds = row.in_crowds;
  const bool reference = context.kind == ContextKind::reference, static_head = head.lambda == 1;
  if ((row.same_as_ste.in_reference && reference) || (row.same_as_ste.at_lambda_one && static_head))
    surrogate.same_as = leading_hpm_surrogate().name;
  if (row.one_sample && context.kind == ContextKind::joint)
    surrogate.unavailable = "it is one sample's; in joint the assignment of all moves the prototypes";
  const auto shared = std::make_shared<const std::pair<HpmHead, Context>>(head, context);
  const auto input = [shared, scales](const SurrogateInput& in) {
    return HpmSurrogateInput{shared->first, shared->second, in.x, in.z, in.o, in.index, scales.o, scales.l};
  };
  if (row.objective) {
    surrogate.kind = SurrogateKind::objective;
    surrogate.objective = [f = row.objective, input](const SurrogateInput& in, const Loss& loss) {
      return f(input(in), loss);
    };
  } else {
    surrogate.logits = [f = row.logits, input](const SurrogateInput& in) { return f(input(in)); };
    // In these cases the prediction is an ordinary function of the image, and ste's gradient is its own.
    surrogate.exact = (reference || static_head) && (row.leads || surrogate.same_as == leading_hpm_surrogate().name);
  }
  return surrogate;
}

}  // namespace hpm
