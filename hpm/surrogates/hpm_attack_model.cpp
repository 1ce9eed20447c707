#include "hpm/surrogates/hpm_attack_model.h"

#include "hpm/attacks/compaction.h"
#include "hpm/core/error.h"
#include "hpm/models/operations.h"

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
  source_.assign(targets_.size(), std::vector<size_t>(static_cast<size_t>(n), 0));
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
  note(query, all);
  return all;
}

void Judge::note(const Query& query, const std::vector<Tensor>& logits) { note(query, wrong(query, logits)); }

Tensor Judge::fresh(const Query& query, const std::vector<Tensor>& logits) {
  settle();
  return wrong(query, logits).to(at::kCPU) & broken_.index_select(1, places(query.index)).logical_not();
}

void Judge::name_source(const std::string& source) {
  settle();
  names_.push_back(source);
}

const std::string& Judge::source(size_t target, int64_t place) {
  settle();
  return names_[source_[target][static_cast<size_t>(place)]];
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
  for (int64_t i = 0; i < places.numel(); ++i) source_[target][static_cast<size_t>(places[i].item<int64_t>())] = 0;
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
  for (int64_t i = 0; i < places.numel(); ++i)
    source_[target][static_cast<size_t>(places[i].item<int64_t>())] = names_.size() - 1;
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
  const bool batch = coupling() == Coupling::batch;
  if (judge_) {
    auto logits = judge_->logits(query, *model_.head, z, o, batch);
    // A row is confirmed by a fresh pass of its image; a batch that is passing by, at once, by PyTorch's own layers (a
    // sweep's batches are composed and judged afresh in the end).
    if (batch && fast_operations(query.x) && breaks_a_batch(query, logits)) {
      const ReferenceOperations exact(true);
      const auto again = model_.run(query.x);
      logits = judge_->logits(query, *model_.head, again.features, again.logits, batch);
    }
    judge_->note(query, logits);
    if (own_) return logits[*own_];
  }
  return prediction_logits(head_, target_.context, z, o, query.index);
}

bool HpmAttackModel::breaks_a_batch(const Query& query, const std::vector<Tensor>& logits) const {
  const auto fresh = judge_->fresh(query, logits);
  for (size_t t = 0; t < logits.size(); ++t)
    if (judge_->targets()[t].context.kind == ContextKind::joint && !judge_->targets()[t].lambda &&
        fresh[static_cast<int64_t>(t)].any().item<bool>())
      return true;
  return false;
}

/// After a search pass in reduced precision: rows that it calls wrong for anyone (in joint: their batch) are judged by
/// a pass in the weights' own; nothing else counts as broken. The attack goes on by what was judged so, but where a
/// sweep alone asked for it: a sweep changes no search.
Tensor HpmAttackModel::judge_confirmed(const Query& query, const Output& out, const Loss& loss) {
  torch::NoGradGuard guard;
  const auto z = out.features.detach(), o = out.logits.detach();
  const bool batch = coupling() == Coupling::batch;
  const auto logits = prediction_logits(head_, target_.context, z, o, query.index);
  auto doubtful = logits.argmax(1).ne(loss.labels).to(at::kCPU), swept = at::zeros_like(doubtful);
  if (judge_) {
    const auto fresh = judge_->fresh(query, judge_->logits(query, *model_.head, z, o, batch));
    for (size_t t = 0; t < judge_->targets().size(); ++t)
      (judge_->targets()[t].lambda ? swept : doubtful) |= fresh[static_cast<int64_t>(t)];
  }
  if (batch && doubtful.any().item<bool>()) doubtful.fill_(true);
  if (batch && swept.any().item<bool>()) swept.fill_(true);
  const auto rows = (doubtful | swept).nonzero().squeeze(1);
  if (rows.numel() == 0) return logits;
  const auto here = rows.to(logits.device());
  const Query asked{query.x.index_select(0, here), query.index.index_select(0, rows), query.draw};
  const auto judged = judge(asked, model_.run(asked.x));
  const auto searched = doubtful.index_select(0, rows).nonzero().squeeze(1).to(logits.device());
  return logits.index_copy(0, here.index_select(0, searched), judged.index_select(0, searched));
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
