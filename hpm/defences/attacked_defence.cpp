#include "hpm/defences/attacked_defence.h"

#include "hpm/core/error.h"
#include "hpm/core/tf32.h"
#include "hpm/models/operations.h"

namespace hpm {
namespace {

Output detached(const Output& pass) {
  return {pass.features.defined() ? pass.features.detach() : Tensor(), pass.logits.detach()};
}

}  // namespace

AttackedDefence::AttackedDefence(Defence& defence, size_t target, Surrogate surrogate, Observer* observer)
    : defence_(defence), target_(target), surrogate_(std::move(surrogate)), observer_(observer) {}

/// The target's logits for a pass; the observer sees those of all targets. `searched`: the pass rounds otherwise than
/// PyTorch's own layers, which decide verdicts.
Tensor AttackedDefence::target_logits(const Query& query, const Output& pass, bool searched) {
  torch::NoGradGuard guard;
  const ScopedTf32 exact_products(false, query.x.device());
  const bool batch = coupling() == Coupling::batch;
  const auto seen = detached(pass);
  if (!observer_ && !batch) return defence_.predict(seen, query.index, target_);
  const auto predict = [&](const Output& from) {
    if (defence_.one_pass_for_all()) return defence_.predict_all(from, query.index, batch);
    std::vector<Tensor> alone(defence_.targets().size());
    alone[target_] = defence_.predict(from, query.index, target_);
    return alone;
  };
  auto logits = predict(seen);
  // A row is confirmed after the attack, by a fresh pass of its image. A batch is confirmed at once.
  if (batch && searched && breaks_the_batch(query, logits)) {
    const ReferenceOperations exact(true);
    logits = predict(defence_.run(query.x));
  }
  if (observer_) observer_->observe(query, logits);
  return logits[target_];
}

/// Whether a row of an attacked batch is wrong that was not yet (without an observer: whether any may be).
bool AttackedDefence::breaks_the_batch(const Query& query, const std::vector<Tensor>& logits) {
  if (!observer_) return true;
  const auto fresh = observer_->new_breaks(query, logits);
  for (size_t t = 0; t < logits.size(); ++t)
    if (defence_.targets()[t].coupling == Coupling::batch && !defence_.targets()[t].swept() &&
        fresh[static_cast<int64_t>(t)].any().item<bool>())
      return true;
  return false;
}

/// After a search pass in reduced precision. Rows that it calls wrong for any target (of a coupled batch: all rows) are
/// judged by a pass in the weights' own precision; nothing else counts as broken. The attack continues from that
/// verdict. Rows that only a sweep's other mixing weights call wrong are observed, but the attack does not see their
/// second verdict: a sweep never changes the search.
Tensor AttackedDefence::confirmed_logits(const Query& query, const Output& pass, const Loss& loss) {
  torch::NoGradGuard guard;
  const auto seen = detached(pass);
  const bool batch = coupling() == Coupling::batch;
  const auto logits = defence_.predict(seen, query.index, target_);
  auto doubtful = logits.argmax(1).ne(loss.labels).to(at::kCPU), swept = at::zeros_like(doubtful);
  if (observer_) {
    const auto fresh = observer_->new_breaks(query, defence_.predict_all(seen, query.index, batch));
    for (size_t t = 0; t < defence_.targets().size(); ++t)
      (defence_.targets()[t].swept() ? swept : doubtful) |= fresh[static_cast<int64_t>(t)];
  }
  if (batch && doubtful.any().item<bool>()) doubtful.fill_(true);
  if (batch && swept.any().item<bool>()) swept.fill_(true);
  const auto rows = (doubtful | swept).nonzero().squeeze(1);
  if (rows.numel() == 0) return logits;
  const auto here = rows.to(logits.device());
  const Query asked{query.x.index_select(0, here), query.index.index_select(0, rows), query.draw};
  const auto again = target_logits(asked, defence_.run(asked.x), fast_operations(asked.x));
  const auto searched = doubtful.index_select(0, rows).nonzero().squeeze(1).to(logits.device());
  return logits.index_copy(0, here.index_select(0, searched), again.index_select(0, searched));
}

Answer AttackedDefence::ask(const Query& query, const Loss* loss) {
  Answer answer;
  if (!loss) {
    torch::NoGradGuard guard;
    answer.target_logits = target_logits(query, defence_.run(query.x), fast_operations(query.x));
    return answer;
  }
  const at::AutoGradMode gradients(true);  // whatever the caller has
  const bool own_pass = surrogate_.through_network && defence_.differentiable();
  const auto leaf = query.x.detach().requires_grad_();
  const ScopedTf32 search(defence_.search_tf32(), query.x.device());
  Output pass;
  {
    at::AutoGradMode mode(own_pass);
    pass = defence_.run(own_pass ? leaf : leaf.detach());
  }
  const bool searched = fast_operations(own_pass ? leaf : query.x);
  answer.target_logits =
      defence_.exact_search() ? target_logits(query, pass, searched) : confirmed_logits(query, pass, *loss);
  differentiate_surrogate(query, leaf, pass, *loss, answer);
  return answer;
}

void AttackedDefence::differentiate_surrogate(const Query& query, const Tensor& leaf, const Output& pass,
                                              const Loss& loss, Answer& answer) {
  const SurrogateInput in{leaf, pass.features, pass.logits, query.index};
  if (surrogate_.objective) return differentiate_rows(leaf, surrogate_.objective(in, loss), answer);
  require(surrogate_.logits != nullptr, "surrogate {}: gives no gradient; Square alone can use it", surrogate_.name);
  differentiate(leaf, surrogate_.logits(in), loss, answer);
}

Tensor AttackedDefence::surrogate_logits(const Query& query) {
  torch::NoGradGuard guard;
  const auto pass = defence_.run(query.x);
  if (!surrogate_.logits) return defence_.predict(pass, query.index, target_);
  return surrogate_.logits({query.x, pass.features, pass.logits, query.index});
}

Passes AttackedDefence::passes() const {
  auto sum = defence_.passes();
  if (surrogate_.passes) {
    const auto own = surrogate_.passes();
    sum.forward += own.forward, sum.backward += own.backward;
  }
  return sum;
}

}  // namespace hpm
