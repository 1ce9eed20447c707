// defines: Surrogate, SurrogateInput, Peers, surrogates(), add_surrogate(), find_surrogate(), coincides_with(),
// unavailable()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/losses.h"
#include "hpm/models/classifier.h"
#include "hpm/prototypes/context.h"

namespace hpm {

/// Other models that adversarial images may transfer from; empty where not given.
struct Peers {
  Classifier base;     ///< before HPM was attached
  Classifier control;  ///< the matched fine-tuned FC model
};

/// What a surrogate is made of in one pass.
struct SurrogateInput {
  const HpmHead& head;  ///< empty where the attacked model has none (TransferModel)
  const Context& context;
  const Peers& peers;
  const Tensor& x;      ///< [N,C,H,W]
  const Tensor& z;      ///< [N,D] penultimate features
  const Tensor& o;      ///< [N,K] FC logits
  const Tensor& index;  ///< [N]
  double scale_o = 1;   ///< standard deviation of the clean FC logits
  double scale_l = 1;   ///< standard deviation of the clean HPM logits
};

/// A differentiable stand-in for the hard, batch-dependent prediction. A new one is a function (in a file pair of its
/// own where it is more than an expression) and a line of the table in surrogate.cpp.
struct Surrogate {
  std::string name = {};     ///< as on the command line
  std::string summary = {};  ///< what it approximates, one line
  /// Logits [N,K]; their losses are the usual ones.
  std::function<Tensor(const SurrogateInput&)> logits = nullptr;
  /// Or an objective of its own [N], to be maximised; Loss::targets names the class it aims at.
  std::function<Tensor(const SurrogateInput&, const Loss&)> objective = nullptr;
  bool own_backbone = true;  ///< differentiates the defended model's backbone, rather than a peer's
};

const std::vector<Surrogate>& surrogates();
/// One more for this process, after the others: what a program of one's own attacks with. Throws UsageError for a name
/// that is taken. Not to be called while an attack runs.
void add_surrogate(Surrogate surrogate);
/// Throws UsageError with the nearest known name.
const Surrogate& find_surrogate(const std::string& name);

/// The earlier surrogate of the table that gives the same logits in this context ("" where none): it runs once.
std::string coincides_with(const std::string& name, const HpmHead& head, ContextKind context);

/// Why a surrogate cannot run here ("" where it can): a peer that was not given, or no sense in this context.
std::string unavailable(const std::string& name, ContextKind context, const Peers& peers);

}  // namespace hpm
