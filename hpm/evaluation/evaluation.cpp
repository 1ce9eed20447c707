#include "hpm/evaluation/evaluation.h"

#include "hpm/core/error.h"

namespace hpm {

bool Evaluation::suspect() const { return !reasons().empty(); }

std::vector<std::string> Evaluation::reasons() const {
  std::vector<std::string> all;
  for (const auto& check : checks)
    if (check.status == CheckOutcome::Status::failed) all.push_back(check.name + ": " + check.detail);
  return all;
}

double percent(const Tensor& flags) {
  return flags.numel() == 0 ? 0 : 100. * static_cast<double>(flags.sum().item<int64_t>()) / static_cast<double>(flags.numel());
}

}  // namespace hpm
