#include "hpm/attacks/finite_answers.h"

#include "hpm/core/transfer.h"

namespace hpm {
namespace {

constexpr int64_t kPeriod = 64;  // queries between two looks, on a GPU

}  // namespace

FiniteAnswers::FiniteAnswers(AttackModel& model, std::string attack, int64_t period)
    : model_(model), attack_(std::move(attack)), period_(period) {}

Answer FiniteAnswers::ask(const Query& query, const Loss* loss) {
  auto answer = model_.ask(query, loss);
  note("logits", query.index, answer.target_logits);
  if (answer.loss.defined()) note("losses", query.index, answer.loss);
  look_when_due(query);
  return answer;
}

Tensor FiniteAnswers::surrogate_logits(const Query& query) {
  auto logits = model_.surrogate_logits(query);
  note("surrogate's logits", query.index, logits);
  look_when_due(query);
  return logits;
}

void FiniteAnswers::note(const char* what, const Tensor& index, const Tensor& values) {
  pending_.push_back({what, index, values.isfinite()});
}

void FiniteAnswers::look_when_due(const Query& query) {
  const int64_t period = period_ > 0 ? period_ : query.x.is_cpu() ? 1 : kPeriod;
  if (++asked_ % period == 0) finish();
}

void FiniteAnswers::finish() {
  const auto seen = std::exchange(pending_, {});
  if (seen.empty() || all_finite(seen)) return;
  for (const auto& [what, index, finite] : seen) {
    const auto rows = (finite.dim() == 1 ? finite : finite.flatten(1).all(1)).cpu();
    const auto bad = index.index_select(0, places_of(rows.logical_not()));
    if (bad.numel() == 0) continue;
    throw NotFinite(fmt::format(
        "{}: the model's {} are NaN or infinite at a version of image {}{}; no attack can judge such a model", attack_,
        what, bad[0].item<int64_t>(), bad.numel() > 1 ? fmt::format(" and of {} others", bad.numel() - 1) : ""));
  }
}

/// One look for all of them.
bool FiniteAnswers::all_finite(const std::vector<Seen>& seen) {
  std::vector<Tensor> flags;
  for (const auto& one : seen) flags.push_back(one.finite.flatten());
  return at::cat(flags).all().item<bool>();
}

}  // namespace hpm
