#include "hpm/surrogates/transfer_model.h"

#include "hpm/core/error.h"

namespace hpm {

TransferModel::TransferModel(Classifier target, Surrogate surrogate, Peers peers, bool differentiable)
    : target_(std::move(target)),
      surrogate_(std::move(surrogate)),
      peers_(std::move(peers)),
      through_target_(surrogate_.own_backbone && differentiable) {
  require(surrogate_.logits != nullptr, "TransferModel: the surrogate {} has no logits to differentiate",
          surrogate_.name);
}

Tensor TransferModel::logits_of(const Tensor& x, const Output& out, const Tensor& index) const {
  static const HpmHead none{};
  static const Context anywhere{};
  return surrogate_.logits({none, anywhere, peers_, x, out.features, out.logits, index});
}

Answer TransferModel::ask(const Query& query, const Loss* loss) {
  Answer answer;
  if (!loss) {
    torch::NoGradGuard guard;
    answer.target_logits = target_.logits(query.x);
    return answer;
  }
  const at::AutoGradMode gradients(true);  // whatever the caller has
  const auto x = query.x.detach().requires_grad_();
  Output out;
  {
    const at::AutoGradMode mode(through_target_);
    out = target_.run(through_target_ ? x : x.detach());
  }
  answer.target_logits = out.logits.detach();
  if (through_target_ && target_.search_precision() != at::kFloat) {
    // What a pass in reduced precision calls wrong is judged by one in the weights' own.
    torch::NoGradGuard guard;
    const auto wrong = answer.target_logits.argmax(1).ne(loss->labels).nonzero().squeeze(1);
    if (wrong.numel() > 0)
      answer.target_logits = answer.target_logits.index_copy(0, wrong, target_.logits(query.x.index_select(0, wrong)));
  }
  const auto logits = logits_of(x, out, query.index);
  if (!logits.requires_grad())
    fail("surrogate {}: its logits have no gradient with respect to the images; a stand-in must be differentiable",
         surrogate_.name);
  differentiate(x, logits, *loss, answer);
  return answer;
}

Tensor TransferModel::surrogate_logits(const Query& query) {
  torch::NoGradGuard guard;
  const auto out = surrogate_.own_backbone ? target_.run(query.x) : Output{};
  return logits_of(query.x, out, query.index);
}

Passes TransferModel::passes() const {
  auto sum = target_.passes();
  for (const auto* peer : {&peers_.base, &peers_.control})
    if (*peer) sum.forward += peer->passes().forward, sum.backward += peer->passes().backward;
  return sum;
}

}  // namespace hpm
