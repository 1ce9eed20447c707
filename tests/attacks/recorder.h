// A model that notes what it is asked.
#pragma once
#include "hpm/attacks/attack_model.h"

namespace hpm::test {

/// Notes at every pass its number of rows, and the first logit of the first row.
class Recorder : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    auto answer = ClassifierModel::ask(query, loss);
    rows.push_back(query.x.size(0));
    first_logit.push_back(answer.target_logits[0][0].item<double>());
    gradients += loss != nullptr;
    return answer;
  }
  std::vector<int64_t> rows;
  std::vector<double> first_logit;
  int64_t gradients = 0;
};

}  // namespace hpm::test
