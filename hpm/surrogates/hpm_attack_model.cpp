#include "hpm/surrogates/hpm_attack_model.h"

#include <torch/torch.h>

#include "hpm/core/error.h"

namespace hpm {

Judge::Judge(const Tensor& index, const Tensor& y, std::vector<JudgedTarget> targets) : y_(y), targets_(std::move(targets)) {
  const int64_t n = index.size(0);
  position_ = at::full({n ? index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
  position_.index_copy_(0, index, at::arange(n));
  broken_.assign(targets_.size(), at::zeros({n}, at::kBool));
  for (auto& flags : broken_) flags = flags.clone();
  images_.resize(targets_.size());
}

void Judge::see(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o) {
  torch::NoGradGuard guard;
  const auto labels = y_.index_select(0, position_.index_select(0, query.index)).to(z.device());
  for (size_t t = 0; t < targets_.size(); ++t) {
    const auto logits = prediction_logits(head, targets_[t].context, z, o, query.index, {.lambda = targets_[t].lambda});
    note(t, query, logits.argmax(1).ne(labels));
  }
}

void Judge::note(size_t target, const Query& query, const Tensor& wrong) {
  const auto rows = wrong.to(at::kCPU).nonzero().squeeze(1);
  if (rows.numel() == 0) return;
  const auto places = position_.index_select(0, query.index.index_select(0, rows));
  const auto fresh = broken_[target].index_select(0, places).logical_not().nonzero().squeeze(1);
  if (fresh.numel() == 0) return;
  auto& images = images_[target];
  if (!images.defined()) {
    auto shape = query.x.sizes().vec();
    shape[0] = y_.size(0);
    images = at::zeros(shape, at::kFloat);
  }
  const auto from = rows.index_select(0, fresh).to(query.x.device());
  images.index_copy_(0, places.index_select(0, fresh), query.x.detach().index_select(0, from).to(at::kCPU, at::kFloat));
  broken_[target].index_fill_(0, places.index_select(0, fresh), true);
}

HpmAttackModel::HpmAttackModel(HpmModel model, JudgedTarget target, Surrogate surrogate, Peers peers, Judge* judge)
    : model_(std::move(model)), head_(*model_.head), target_(std::move(target)), surrogate_(std::move(surrogate)),
      peers_(std::move(peers)), judge_(judge) {
  if (target_.lambda) head_.lambda = *target_.lambda;
}

SurrogateInput HpmAttackModel::input(const Tensor& x, const Output& out, const Tensor& index) const {
  return {head_, target_.context, peers_, x, out.features, out.logits, index, scale_o_, scale_l_};
}

Tensor HpmAttackModel::judge(const Query& query, const Output& out) {
  torch::NoGradGuard guard;
  const auto z = out.features.detach(), o = out.logits.detach();
  if (judge_) judge_->see(query, *model_.head, z, o);
  return prediction_logits(head_, target_.context, z, o, query.index);
}

Answer HpmAttackModel::ask(const Query& query, const Loss* loss) {
  Answer answer;
  if (!loss) {
    torch::NoGradGuard guard;
    answer.target_logits = judge(query, model_.run(query.x));
    return answer;
  }
  const auto x = query.x.detach().requires_grad_();
  Output out;
  {
    at::AutoGradMode mode(surrogate_.own_backbone);
    out = model_.run(surrogate_.own_backbone ? x : x.detach());
  }
  answer.target_logits = judge(query, out);
  const auto in = input(x, out, query.index);
  if (surrogate_.objective) {
    differentiate_rows(x, surrogate_.objective(in, *loss), answer);
  } else {
    require(surrogate_.logits != nullptr, "surrogate {}: gives no gradient; Square alone can use it", surrogate_.name);
    differentiate(x, surrogate_.logits(in), *loss, answer);
  }
  return answer;
}

Tensor HpmAttackModel::surrogate_logits(const Query& query) {
  torch::NoGradGuard guard;
  const auto out = model_.run(query.x);
  if (!surrogate_.logits) return prediction_logits(head_, target_.context, out.features, out.logits, query.index);
  return surrogate_.logits(input(query.x, out, query.index));
}

Coupling HpmAttackModel::coupling() const {
  return target_.context.kind == ContextKind::joint ? Coupling::batch : Coupling::rows;
}

Passes HpmAttackModel::passes() const {
  auto sum = model_.classifier.passes();
  for (const auto* peer : {&peers_.base, &peers_.control})
    if (*peer) sum.forward += peer->passes().forward, sum.backward += peer->passes().backward;
  return sum;
}

}  // namespace hpm
