// defines: HpmSurrogate, HpmSurrogateInput, hpm_surrogates(), hpm_surrogate(), leading_hpm_surrogate(), bound()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/prototypes/context.h"
#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// What a surrogate of the HPM head is computed from.
struct HpmSurrogateInput {
  const HpmHead& head;     ///< with the mixing weight under attack
  const Context& context;  ///< with its company
  const Tensor& x;         ///< [N,C,H,W] in [0,1], the leaf that gradients are taken for
  const Tensor& z;         ///< [N,D] penultimate features
  const Tensor& o;         ///< [N,K] FC logits
  const Tensor& index;     ///< [N] int64 (CPU): numbers of the images that the rows are versions of
  double scale_o = 1;      ///< standard deviation of the FC logits on the clean images
  double scale_l = 1;      ///< standard deviation of the head's logits on the clean images
};

/// Where a surrogate gives the same logits as ste. In the context reference the prototypes do not depend on the
/// assignment; at lambda = 1 no context is dynamic.
struct SameAsSte {
  bool in_reference = false, at_lambda_one = false;
};

/// A row of the table: a differentiable stand-in for HPM's hard, batch-dependent prediction. A new one is a function
/// (in a file pair of its own where it is more than an expression) and a row of the table in hpm_surrogates.cpp. The
/// order of the table is the order in which surrogates attack.
struct HpmSurrogate {
  std::string name = {};
  std::string summary = {};                                                          ///< what it approximates, one line
  std::function<Tensor(const HpmSurrogateInput&)> logits = nullptr;                  ///< logits [N,K], or ...
  std::function<Tensor(const HpmSurrogateInput&, const Loss&)> objective = nullptr;  ///< ... an objective [N]
  SameAsSte same_as_ste = {};
  bool one_sample = false;  ///< speaks of one sample alone: not for the context joint
  bool quick = true;        ///< these four as in Surrogate
  bool leads = false;
  bool checked = false;
  bool in_crowds = false;
  bool validates = false;  ///< the robust validation of fine-tuning attacks through it
};

/// The built-in white-box surrogates, in the order of what each broke of what was left (docs/results.md).
const std::vector<HpmSurrogate>& hpm_surrogates();
/// The row of that name. Throws UsageError with the nearest known name.
const HpmSurrogate& hpm_surrogate(const std::string& name);
/// The one row that leads: ste, which the others may be the same as.
const HpmSurrogate& leading_hpm_surrogate();

/// Scales of the clean logits (see HpmSurrogateInput).
struct LogitScales {
  double o = 1, l = 1;
};

/// A row as a surrogate of `head` in `context`; both are copied, tensors are shared. Throws UsageError for a row that
/// has neither logits nor an objective.
Surrogate bound(const HpmSurrogate& row, const HpmHead& head, const Context& context, LogitScales scales = {});

}  // namespace hpm
