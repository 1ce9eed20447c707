#include "hpm/surrogates/hpm_attack_model.h"

#include "hpm/attacks/compaction.h"
#include "hpm/core/error.h"

namespace hpm {

Judge::Judge(ImageSet images, const ThreatModel& threat, std::vector<JudgedTarget> targets, int64_t compaction)
    : originals_(std::move(images)),
      threat_(threat),
      targets_(std::move(targets)),
      period_(static_cast<size_t>(compaction_period(compaction, originals_.y)) * targets_.size()) {
  const int64_t n = originals_.size();
  position_ = at::full({n ? originals_.index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
  position_.index_copy_(0, originals_.index, at::arange(n));
  for (size_t t = 0; t < targets_.size(); ++t) {
    broken_.push_back(at::zeros({n}, at::kBool));
    images_.emplace_back(originals_);
  }
}

void Judge::see(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o) {
  torch::NoGradGuard guard;
  const auto labels = originals_.y.index_select(0, places(query.index).to(z.device()));
  for (size_t t = 0; t < targets_.size(); ++t) {
    const auto logits = prediction_logits(head, targets_[t].context, z, o, query.index, {.lambda = targets_[t].lambda});
    note(t, query, logits.argmax(1).ne(labels));
  }
}

void Judge::note(size_t target, const Query& query, const Tensor& wrong) {
  if (period_ <= targets_.size()) return take({target, query, wrong});
  // A copy: some attacks go on writing into their images.
  pending_.push_back({target, {query.x.detach().clone(), query.index, query.draw}, wrong});
  if (pending_.size() >= period_) settle();
}

void Judge::settle() {
  for (const auto& noted : std::exchange(pending_, {})) take(noted);
}

const Tensor& Judge::broken(size_t target) {
  settle();
  return broken_[target];
}

const ImageStore& Judge::images(size_t target) {
  settle();
  return images_[target];
}

void Judge::forget(size_t target, const Tensor& places) {
  settle();
  broken_[target].index_fill_(0, places, false);
}

void Judge::take(const Noted& noted) {
  const auto& [target, query, wrong] = noted;
  auto rows = wrong.to(at::kCPU).nonzero().squeeze(1);
  if (rows.numel() == 0) return;
  const auto fresh = broken_[target].index_select(0, places(query.index.index_select(0, rows))).logical_not();
  rows = rows.index({fresh});
  if (rows.numel() == 0) return;
  const bool joint = targets_[target].context.kind == ContextKind::joint;
  if (joint && !inside(query, at::arange(query.x.size(0))).all().item<bool>()) return;
  if (!joint) rows = rows.index({inside(query, rows)});
  restore(target, places(query.index.index_select(0, rows)),
          query.x.detach().index_select(0, rows.to(query.x.device())));
}

void Judge::restore(size_t target, const Tensor& places, const Tensor& images) {
  images_[target].put(places, images);
  broken_[target].index_fill_(0, places, true);
}

Tensor Judge::inside(const Query& query, const Tensor& rows) const {
  const auto x = query.x.detach().index_select(0, rows.to(query.x.device()));
  const auto originals = originals_.select(places(query.index.index_select(0, rows))).x;
  return hpm::inside(x, originals, threat_).to(at::kCPU);
}

HpmAttackModel::HpmAttackModel(HpmModel model, JudgedTarget target, Surrogate surrogate, Peers peers, Judge* judge)
    : model_(std::move(model)),
      head_(*model_.head),
      target_(std::move(target)),
      surrogate_(std::move(surrogate)),
      peers_(std::move(peers)),
      judge_(judge) {
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

/// After a search pass in reduced precision: rows that it calls wrong (in joint: their batch) are judged by a pass in
/// the weights' own; nothing else counts as broken.
Tensor HpmAttackModel::judge_confirmed(const Query& query, const Output& out, const Loss& loss) {
  torch::NoGradGuard guard;
  const auto logits =
      prediction_logits(head_, target_.context, out.features.detach(), out.logits.detach(), query.index);
  auto rows = logits.argmax(1).ne(loss.labels).nonzero().squeeze(1);
  if (rows.numel() == 0) return logits;
  if (coupling() == Coupling::batch) rows = at::arange(query.x.size(0), rows.options());
  const Query doubtful{query.x.index_select(0, rows), query.index.index_select(0, rows.to(at::kCPU)), query.draw};
  return logits.index_copy(0, rows, judge(doubtful, model_.run(doubtful.x)));
}

Answer HpmAttackModel::ask(const Query& query, const Loss* loss) {
  Answer answer;
  if (!loss) {
    torch::NoGradGuard guard;
    answer.target_logits = judge(query, model_.run(query.x));
    return answer;
  }
  const at::AutoGradMode gradients(true);  // whatever the caller has
  const auto x = query.x.detach().requires_grad_();
  Output out;
  {
    at::AutoGradMode mode(surrogate_.own_backbone);
    out = model_.run(surrogate_.own_backbone ? x : x.detach());
  }
  answer.target_logits =
      model_.classifier.search_precision() == at::kFloat ? judge(query, out) : judge_confirmed(query, out, *loss);
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
