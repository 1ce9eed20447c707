#include "hpm/prototypes/assignment.h"

namespace hpm {

Tensor hard_assignment(const Tensor& o) {
  torch::NoGradGuard guard;
  return at::zeros_like(o).scatter_(1, o.argmax(1, true), 1);
}

Assigned assign(const Tensor& o, Assignment kind, double temperature) {
  const auto hard = hard_assignment(o);
  if (kind == Assignment::hard) return {hard, hard, kind};
  const auto q = at::softmax(o / temperature, 1);
  return {kind == Assignment::soft ? q : hard + (q - q.detach()), hard, kind};
}

ClassStatistics class_statistics(const Tensor& assignment, const Tensor& h) {
  return {assignment.t().matmul(h), assignment.sum(0)};
}

}  // namespace hpm
