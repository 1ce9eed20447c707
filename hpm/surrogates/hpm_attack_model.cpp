#include "hpm/surrogates/hpm_attack_model.h"

#include "hpm/core/error.h"
#include "hpm/core/tf32.h"
#include "hpm/models/operations.h"

namespace hpm {

HpmAttackModel::HpmAttackModel(HpmModel model, Context context, const HpmSurrogate& surrogate, bool verdicts)
    : model_(std::move(model)), context_(std::move(context)), verdicts_(verdicts) {
  require(model_.head.has_value(), "HpmAttackModel: the model has no HPM head");
  surrogate_ = bound(surrogate, *model_.head, context_);
}

Answer HpmAttackModel::ask(const Query& query, const Loss* loss) {
  Answer answer;
  const at::AutoGradMode gradients(loss != nullptr);
  const ScopedTf32 search(loss && model_.classifier.search_tf32(), query.x.device());
  const auto x = loss ? query.x.detach().requires_grad_() : query.x;
  const auto out = model_.run(x);
  const bool searched = loss && fast_operations(x);
  {
    torch::NoGradGuard guard;
    const auto predict = [&](const Output& pass) {
      return prediction_logits(*model_.head, context_, pass.features.detach(), pass.logits.detach(), query.index);
    };
    answer.target_logits = predict(out);
    if (searched && verdicts_ && coupling() == Coupling::batch &&
        answer.target_logits.argmax(1).ne(loss->labels).any().item<bool>()) {
      const ReferenceOperations exact(true);
      answer.target_logits = predict(model_.run(query.x));
    }
  }
  if (!loss) return answer;
  const SurrogateInput in{x, out.features, out.logits, query.index};
  if (surrogate_.objective) differentiate_rows(x, surrogate_.objective(in, *loss), answer);
  else differentiate(x, surrogate_.logits(in), *loss, answer);
  return answer;
}

Tensor HpmAttackModel::surrogate_logits(const Query& query) {
  torch::NoGradGuard guard;
  const auto out = model_.run(query.x);
  if (!surrogate_.logits) return prediction_logits(*model_.head, context_, out.features, out.logits, query.index);
  return surrogate_.logits({query.x, out.features, out.logits, query.index});
}

Coupling HpmAttackModel::coupling() const {
  return context_.kind == ContextKind::joint ? Coupling::batch : Coupling::rows;
}

}  // namespace hpm
