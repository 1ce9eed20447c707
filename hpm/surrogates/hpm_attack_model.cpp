#include "hpm/surrogates/hpm_attack_model.h"

#include "hpm/attacks/compaction.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

bool same_context(const Context& a, const Context& b) {
  return a.kind == b.kind && a.company == b.company && a.draws == b.draws;
}

}  // namespace

Judge::Judge(ImageSet images, const ThreatModel& threat, std::vector<JudgedTarget> targets, int64_t compaction)
    : originals_(std::move(images)),
      threat_(threat),
      targets_(std::move(targets)),
      period_(static_cast<size_t>(compaction_period(compaction, originals_.y))) {
  const int64_t n = originals_.size();
  position_ = at::full({n ? originals_.index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
  position_.index_copy_(0, originals_.index, at::arange(n));
  broken_ = at::zeros({static_cast<int64_t>(targets_.size()), n}, at::kBool);
  for (size_t t = 0; t < targets_.size(); ++t) {
    images_.emplace_back(originals_);  // copies would share what they hold
    const auto group = std::find_if(groups_.begin(), groups_.end(), [&](const auto& g) {
      return same_context(targets_[g.front()].context, targets_[t].context);
    });
    if (group == groups_.end()) groups_.push_back({t});
    else group->push_back(t);
  }
}

std::vector<Tensor> Judge::logits(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o,
                                  bool whole_batch) const {
  torch::NoGradGuard guard;
  const auto h = head.embed(z);
  const auto assigned = assign(o, Assignment::hard);
  std::vector<Tensor> logits(targets_.size());
  for (const auto& group : groups_) {
    const auto& context = targets_[group.front()].context;
    if (context.kind == ContextKind::joint && !whole_batch) continue;
    if (group.size() == 1) {
      logits[group.front()] =
          prediction_logits(head, context, h, assigned, query.index, {.lambda = targets_[group.front()].lambda});
      continue;
    }
    HeadOptions options;
    for (auto t : group) options.lambdas.push_back(targets_[t].lambda.value_or(head.lambda));
    const auto all = prediction_logits(head, context, h, assigned, query.index, options).unbind(0);
    for (size_t l = 0; l < group.size(); ++l) logits[group[l]] = all[l];
  }
  return logits;
}

/// [targets,N] bool.
Tensor Judge::wrong(const Query& query, const std::vector<Tensor>& logits) const {
  std::vector<Tensor> given, rows;
  for (size_t t = 0; t < logits.size(); ++t)
    if (logits[t].defined()) given.push_back(logits[t]), rows.push_back(torch::tensor(static_cast<int64_t>(t)));
  if (given.empty()) return at::zeros({static_cast<int64_t>(logits.size()), query.x.size(0)}, at::kBool);
  const auto& any = given.front();
  const auto labels = originals_.y.index_select(0, places(query.index).to(any.device()));
  const auto wrong = at::stack(given).argmax(-1).ne(labels);
  if (given.size() == logits.size()) return wrong;
  const auto all = at::zeros({static_cast<int64_t>(logits.size()), wrong.size(1)}, wrong.options());
  return all.index_copy(0, at::stack(rows).to(any.device()), wrong);
}

std::vector<Tensor> Judge::see(const Query& query, const HpmHead& head, const Tensor& z, const Tensor& o,
                               bool whole_batch) {
  auto all = logits(query, head, z, o, whole_batch);
  note(query, wrong(query, all));
  return all;
}

Tensor Judge::fresh(const Query& query, const std::vector<Tensor>& logits) {
  settle();
  const auto rows = wrong(query, logits).to(at::kCPU) & broken_.index_select(1, places(query.index)).logical_not();
  return rows.any(0);
}

std::optional<size_t> Judge::find(const JudgedTarget& target) const {
  for (size_t t = 0; t < targets_.size(); ++t)
    if (same_context(targets_[t].context, target.context) && targets_[t].lambda == target.lambda) return t;
  return std::nullopt;
}

void Judge::note(const Query& query, const Tensor& wrong) {
  if (period_ <= 1) return take({query, wrong});
  // A copy: some attacks go on writing into their images.
  pending_.push_back({{query.x.detach().clone(), query.index, query.draw}, wrong});
  if (pending_.size() >= period_) settle();
}

void Judge::settle() {
  for (const auto& noted : std::exchange(pending_, {})) take(noted);
}

Tensor Judge::broken(size_t target) {
  settle();
  return broken_[static_cast<int64_t>(target)];
}

const ImageStore& Judge::images(size_t target) {
  settle();
  return images_[target];
}

void Judge::forget(size_t target, const Tensor& places) {
  settle();
  broken_[static_cast<int64_t>(target)].index_fill_(0, places, false);
}

void Judge::take(const Noted& noted) {
  const auto& query = noted.query;
  const auto at_places = places(query.index);
  const auto fresh = noted.wrong.to(at::kCPU) & broken_.index_select(1, at_places).logical_not();
  if (!fresh.any().item<bool>()) return;
  for (size_t t = 0; t < targets_.size(); ++t) {
    auto rows = fresh[static_cast<int64_t>(t)].nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const bool joint = targets_[t].context.kind == ContextKind::joint;
    if (joint && !inside(query, at::arange(query.x.size(0))).all().item<bool>()) continue;
    if (!joint) rows = rows.index({inside(query, rows)});
    restore(t, at_places.index_select(0, rows), query.x.detach().index_select(0, rows.to(query.x.device())));
  }
}

void Judge::restore(size_t target, const Tensor& places, const Tensor& images) {
  images_[target].put(places, images);
  broken_[static_cast<int64_t>(target)].index_fill_(0, places, true);
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
  if (judge_) own_ = judge_->find(target_);
  if (target_.lambda) head_.lambda = *target_.lambda;
}

SurrogateInput HpmAttackModel::input(const Tensor& x, const Output& out, const Tensor& index) const {
  return {head_, target_.context, peers_, x, out.features, out.logits, index, scale_o_, scale_l_};
}

Tensor HpmAttackModel::judge(const Query& query, const Output& out) {
  torch::NoGradGuard guard;
  const auto z = out.features.detach(), o = out.logits.detach();
  if (judge_) {
    const auto logits = judge_->see(query, *model_.head, z, o, coupling() == Coupling::batch);
    if (own_) return logits[*own_];
  }
  return prediction_logits(head_, target_.context, z, o, query.index);
}

/// After a search pass in reduced precision: rows that it calls wrong for anyone (in joint: their batch) are judged by
/// a pass in the weights' own; nothing else counts as broken.
Tensor HpmAttackModel::judge_confirmed(const Query& query, const Output& out, const Loss& loss) {
  torch::NoGradGuard guard;
  const auto z = out.features.detach(), o = out.logits.detach();
  const bool batch = coupling() == Coupling::batch;
  const auto logits = prediction_logits(head_, target_.context, z, o, query.index);
  auto doubtful = logits.argmax(1).ne(loss.labels);
  if (judge_) doubtful |= judge_->fresh(query, judge_->logits(query, *model_.head, z, o, batch)).to(doubtful.device());
  if (batch && doubtful.any().item<bool>()) doubtful.fill_(true);
  const auto rows = doubtful.nonzero().squeeze(1);
  if (rows.numel() == 0) return logits;
  const Query asked{query.x.index_select(0, rows), query.index.index_select(0, rows.to(at::kCPU)), query.draw};
  return logits.index_copy(0, rows, judge(asked, model_.run(asked.x)));
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
