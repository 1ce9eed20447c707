#include "hpm/attacks/finite_answers.h"

#include "hpm/attacks/compaction.h"

namespace hpm {

FiniteAnswers::FiniteAnswers(AttackModel& model, std::string attack, int64_t compaction)
    : model_(model), attack_(std::move(attack)), compaction_(compaction) {}

Answer FiniteAnswers::ask(const Query& query, const Loss* loss) {
  auto answer = model_.ask(query, loss);
  look("logits", query.index, answer.target_logits);
  if (answer.loss.defined()) look("losses", query.index, answer.loss);
  return answer;
}

Tensor FiniteAnswers::surrogate_logits(const Query& query) {
  auto logits = model_.surrogate_logits(query);
  look("surrogate's logits", query.index, logits);
  return logits;
}

void FiniteAnswers::look(const char* what, const Tensor& index, const Tensor& values) {
  pending_.push_back({what, index, values.isfinite()});
  if (static_cast<int64_t>(pending_.size()) >= compaction_period(compaction_, values)) finish();
}

void FiniteAnswers::finish() {
  for (const auto& [what, index, finite] : std::exchange(pending_, {})) {
    if (finite.all().item<bool>()) continue;
    const auto rows = finite.dim() == 1 ? finite : finite.flatten(1).all(1);
    const auto bad = index.index_select(0, rows.logical_not().nonzero().squeeze(1).to(at::kCPU));
    throw NotFinite(fmt::format(
        "{}: the model's {} are NaN or infinite at a version of image {}{}; no attack can judge such a model", attack_,
        what, bad[0].item<int64_t>(), bad.numel() > 1 ? fmt::format(" and of {} others", bad.numel() - 1) : ""));
  }
}

}  // namespace hpm
