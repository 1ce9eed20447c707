// The fixture of the tests of checks.
#pragma once
#include "evaluation/msa_fixture.h"
#include "hpm/attacks/function_model.h"
#include "hpm/core/error.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/checks/checks.h"
#include "hpm/evaluation/protocols.h"

namespace hpm::test {

/// Shows the inner model's answers with something wrong.
class Spoiled : public AttackModel {
 public:
  Spoiled(AttackModel& inner, std::function<void(Answer&, const Query&)> spoil)
      : inner_(inner), spoil_(std::move(spoil)) {}
  Answer ask(const Query& q, const Loss* loss) override {
    auto answer = inner_.ask(q, loss);
    spoil_(answer, q);
    return answer;
  }
  int64_t classes() const override { return inner_.classes(); }
  Passes passes() const override { return inner_.passes(); }

 private:
  AttackModel& inner_;
  std::function<void(Answer&, const Query&)> spoil_;
};

/// What a white-box surrogate, a transfer surrogate and Square would have found.
inline const Finding kSte{"ste", SurrogateKind::white_box, "apgd-ce", "solo"},
    kTransfer{"base", SurrogateKind::transfer, "apgd-ce", "solo"},
    kSquare{"query", SurrogateKind::query, "square", "solo"};

class ChecksTest : public testing::Test {
 protected:
  std::map<std::string, CheckOutcome> run(AttackModel& attacked, const std::optional<ImageSet>& saved = {},
                                          const std::string& level = "basic") {
    const auto predict = [&](const Tensor& x, const Tensor& index) {
      return attacked.ask({x, index}, nullptr).target_logits;
    };
    std::map<std::string, CheckOutcome> all;
    CheckSubject subject{attacked, false, predict};
    subject.saved = saved;
    for (auto& c : run_checks(subject, {images, threat}, evaluation, {.level = level})) all[c.name] = c;
    return all;
  }
  using Status = CheckOutcome::Status;
  HpmModel model{tiny_model(.4, at::kFloat).classifier, std::nullopt};
  ClassifierModel honest{model.classifier};
  Images images = tiny_labelled_images(model.classifier, 40);
  ThreatModel threat{Norm::linf, .03};
  PlainDefence plain{model.classifier, {}};
  Evaluation evaluation = evaluate_pgd(plain, {images, threat}, {.steps = 5}, {.batch_size = 40});
};

}  // namespace hpm::test
