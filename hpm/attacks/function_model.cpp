#include "hpm/attacks/function_model.h"

#include <torch/torch.h>

#include "hpm/core/error.h"

namespace hpm {

FunctionModel::FunctionModel(Function logits, int64_t classes, bool random)
    : logits_(std::move(logits)), classes_(classes), random_(random) {}

Answer FunctionModel::ask(const Query& query, const Loss* loss) {
  const int64_t n = query.x.size(0);
  const at::AutoGradMode mode(loss != nullptr);
  const auto x = query.x.detach().requires_grad_(loss != nullptr);
  const auto logits = logits_(x);
  require(logits.dim() == 2 && logits.size(0) == n && logits.size(1) == classes_,
          "FunctionModel: the function needs to give logits [{},{}], but gives [{}]", n, classes_,
          fmt::join(logits.sizes(), ","));
  passes_.forward += n;
  Answer answer;
  answer.target_logits = logits.detach();
  if (!loss) return answer;
  differentiate(x, logits, *loss, answer);
  passes_.backward += n * (loss->kind == LossKind::logits ? classes_ : 1);
  return answer;
}

}  // namespace hpm
