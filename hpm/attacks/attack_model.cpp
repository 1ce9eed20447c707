#include "hpm/attacks/attack_model.h"

#include "hpm/core/tf32.h"

namespace hpm {

ClassifierModel::ClassifierModel(Classifier classifier, bool random)
    : classifier_(std::move(classifier)), random_(random) {}

Answer ClassifierModel::ask(const Query& query, const Loss* loss) {
  Answer answer;
  if (!loss) {
    torch::NoGradGuard guard;
    answer.target_logits = classifier_.logits(query.x);
    return answer;
  }
  const at::AutoGradMode gradients(true);  // even if the caller turned them off
  const ScopedTf32 search(classifier_.search_tf32(), query.x.device());
  const auto x = query.x.detach().requires_grad_();
  const auto logits = classifier_.logits(x);
  answer.target_logits = logits.detach();
  differentiate(x, logits, *loss, answer);
  if (!classifier_.exact_search()) {
    torch::NoGradGuard guard;
    answer.target_logits = confirmation_(answer.target_logits, loss->labels, [&](const Tensor& rows) {
      return classifier_.logits(query.x.index_select(0, rows));
    });
  }
  return answer;
}

void differentiate(const Tensor& x, const Tensor& logits, const Loss& loss, Answer& answer) {
  const auto values = loss_values(logits, loss);
  if (values.dim() == 1) return differentiate_rows(x, values, answer);
  std::vector<Tensor> gradients;
  const int64_t columns = values.size(1);
  for (int64_t k = 0; k < columns; ++k)
    gradients.push_back(torch::autograd::grad({values.select(1, k).sum()}, {x}, {}, k + 1 < columns)[0]);
  answer.gradient = at::stack(gradients, 1);
  answer.loss = values.detach();
}

void differentiate_rows(const Tensor& x, const Tensor& row_losses, Answer& answer) {
  answer.gradient = torch::autograd::grad({row_losses.sum()}, {x})[0];
  answer.loss = row_losses.detach();
}

Tensor clean_logits(AttackModel& model, const Images& images) {
  return images.clean_logits.defined() ? images.clean_logits
                                       : model.ask({images.x, images.index}, nullptr).target_logits;
}

}  // namespace hpm
