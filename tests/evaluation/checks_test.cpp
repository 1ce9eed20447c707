#include "hpm/evaluation/checks.h"

#include "hpm/attacks/function_model.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/protocols.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::tiny_images;
using test::tiny_model;

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

class ChecksTest : public testing::Test {
 protected:
  ChecksTest() {
    images.x = tiny_images(40, 1, at::kFloat);
    images.index = at::arange(40);
    images.y = model.classifier.logits(images.x).argmax(1);
    evaluation = evaluate_pgd({model}, images, threat, {.steps = 5}, 0, 40);
  }
  std::map<std::string, CheckOutcome> run(AttackModel& attacked, const std::optional<ImageSet>& saved = {},
                                          const std::string& level = "basic") {
    const auto predict = [&](const Tensor& x, const Tensor& index) {
      return attacked.ask({x, index}, nullptr).target_logits;
    };
    std::map<std::string, CheckOutcome> all;
    for (auto& c : run_checks({attacked, false, predict}, images, threat, evaluation, saved, {.level = level}))
      all[c.name] = c;
    return all;
  }
  using Status = CheckOutcome::Status;
  HpmModel model{tiny_model(.4, at::kFloat).classifier, std::nullopt};
  ClassifierModel honest{model.classifier};
  Images images;
  ThreatModel threat{Norm::linf, .03};
  Evaluation evaluation;
};

TEST_F(ChecksTest, HonestModelPassesWhatDoesNotDependOnTraining) {
  const auto checks = run(honest, evaluation.adversarial.set());
  for (const char* name : {"zero gradients", "NaN or infinite", "ball and box", "determinism", "consistency", "reload"})
    EXPECT_EQ(checks.at(name).status, Status::passed) << name << ": " << checks.at(name).detail;
}

TEST_F(ChecksTest, MaskedGradientsAreFlagged) {
  Spoiled masked(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  const auto checks = run(masked);
  EXPECT_EQ(checks.at("zero gradients").status, Status::failed);
  EXPECT_EQ(checks.at("unbounded").status, Status::failed);
}

TEST_F(ChecksTest, WhatOneSurrogateMasksAnotherMayBreak) {
  Spoiled masked(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  // The same predictions, with gradients 50 times as large.
  FunctionModel steep([&](const Tensor& x) { return 50 * model.classifier.logits(x); }, 5);
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  std::map<std::string, CheckOutcome> both, alone;
  for (auto& c : run_checks({masked, false, predict, {&steep}}, images, threat, evaluation, {}, {})) both[c.name] = c;
  for (auto& c : run_checks({steep, false, predict}, images, threat, evaluation, {}, {})) alone[c.name] = c;
  for (const char* name : {"zero gradients", "unbounded"}) {
    EXPECT_EQ(both.at(name).status, alone.at(name).status) << name;
    EXPECT_EQ(both.at(name).value, alone.at(name).value) << name;
  }
  EXPECT_EQ(both.at("zero gradients").status, Status::passed);
}

TEST_F(ChecksTest, AreOfTheContextAskedForAndOnlyTheFirstOnesImagesAreLookedAt) {
  evaluation.contexts[0].context = "reference";
  evaluation.contexts.push_back(evaluation.contexts[0]);
  evaluation.contexts[1].context = "alone";
  evaluation.contexts[1].surrogates = {{.name = "control", .of = 40, .first = 40}};
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  std::map<std::string, CheckOutcome> first, second;
  for (auto& c : run_checks({honest, false, predict, {}, 0}, images, threat, evaluation, {}, {})) first[c.name] = c;
  for (auto& c : run_checks({honest, false, predict, {}, 1}, images, threat, evaluation, {}, {})) second[c.name] = c;
  EXPECT_EQ(first.at("unbounded").context, "reference");
  EXPECT_EQ(second.at("unbounded").context, "alone");
  EXPECT_TRUE(first.contains("ball and box") && !second.contains("ball and box"));
  EXPECT_EQ(first.at("transfer").status, Status::not_run);
  EXPECT_EQ(second.at("transfer").status, Status::failed);
  evaluation.checks = {second.at("transfer")};
  EXPECT_EQ(evaluation.reasons().front().substr(0, 18), "transfer in alone:");
}

TEST_F(ChecksTest, ConvergenceIsAShareOfTheSurvivors) {
  evaluation.contexts[0].robust = at::zeros({40}, at::kBool);
  evaluation.contexts[0].robust.slice(0, 0, 4).fill_(true);
  threat.eps = 1;  // breaks all four
  const auto check = run(honest, {}, "full").at("convergence");
  EXPECT_NE(check.detail.find("of 4 survivors"), std::string::npos) << check.detail;
  EXPECT_GE(*check.value, 50) << check.detail;
}

TEST_F(ChecksTest, AGradientThatVanishesInOneOfTheLossesIsFlagged) {
  class WithoutDlr : public ClassifierModel {
   public:
    using ClassifierModel::ClassifierModel;
    Answer ask(const Query& query, const Loss* loss) override {
      auto answer = ClassifierModel::ask(query, loss);
      if (loss && loss->kind == LossKind::dlr) answer.gradient.zero_();
      return answer;
    }
  };
  WithoutDlr masked(model.classifier);
  EXPECT_EQ(run(masked).at("zero gradients").status, Status::failed);
  EXPECT_EQ(run(honest).at("zero gradients").status, Status::passed);
}

TEST_F(ChecksTest, ImagesThatAreWrongNeedNoGradient) {
  images.y = std::get<1>(model.classifier.logits(images.x).topk(3)).select(1, 2).contiguous();  // here DLR is 1
  EXPECT_EQ(run(honest).at("zero gradients").value, 0);
}

TEST_F(ChecksTest, WhatSquareBreaksBeyondWhiteBoxIsFlagged) {
  EXPECT_EQ(run(honest, {}, "full").at("Square after white-box").context, "");
  // The evaluation's own Square came last, and broke two images.
  auto left = evaluation.contexts[0].clean_correct.clone();
  evaluation.attacks = {{.name = "apgd-ce", .robust = left.clone()}};
  left.slice(0, 0, 2).fill_(false);
  evaluation.attacks.push_back({.name = "square", .robust = left});
  evaluation.contexts[0].robust = at::zeros({40}, at::kBool);
  const auto check = run(honest, {}, "full").at("Square after white-box");
  EXPECT_EQ(check.status, Status::failed) << check.detail;
  EXPECT_NEAR(*check.value, 100. * 2 / 40, 1e-9);
  // In MSA it is the surrogate "query".
  evaluation.contexts[0].surrogates = {{.name = "query", .of = 40, .first = 1}};
  EXPECT_NEAR(*run(honest, {}, "full").at("Square after white-box").value, 100. * 1 / 40, 1e-9);
  evaluation.contexts[0].surrogates[0].first = 0;
  EXPECT_EQ(run(honest, {}, "full").at("Square after white-box").status, Status::passed);
}

TEST_F(ChecksTest, BasicOnesTakeNoMorePassesThanStated) {
  const auto before = honest.passes();
  run(honest);
  const auto after = honest.passes();
  EXPECT_LE(after.backward - before.backward, 60 * 40);
  EXPECT_LE(after.forward - before.forward, 80 * 40);
}

TEST_F(ChecksTest, LogitsScaledUntilFloat32GradientsVanishAreFlagged) {
  FunctionModel scaled([&](const Tensor& x) { return model.classifier.logits(x) * 1e6; }, 5);
  EXPECT_EQ(run(scaled).at("zero gradients").status, Status::failed);
}

TEST_F(ChecksTest, AQuantisedInputIsFlagged) {
  FunctionModel quantised([&](const Tensor& x) { return model.classifier.logits((x * 16).round() / 16); }, 5);
  const auto checks = run(quantised);
  EXPECT_EQ(checks.at("zero gradients").status, Status::failed);
  EXPECT_EQ(checks.at("unbounded").status, Status::failed);
}

TEST_F(ChecksTest, NanLogitsAreFlagged) {
  Spoiled nan(honest, [](Answer& a, const Query&) { a.target_logits[0][0] = std::nan(""); });
  EXPECT_EQ(run(nan).at("NaN or infinite").status, Status::failed);
}

TEST_F(ChecksTest, BatchDependenceAndRandomnessAreFlagged) {
  Spoiled coupled(honest, [](Answer& a, const Query& q) {
    a.target_logits = a.target_logits + 50 * (q.x.size(0) % 2) * at::rand({5});
  });
  EXPECT_EQ(run(coupled).at("consistency").status, Status::failed);
  int64_t calls = 0;
  Spoiled random(honest, [&](Answer& a, const Query&) { a.target_logits = a.target_logits.roll(++calls % 5, 1); });
  EXPECT_EQ(run(random).at("determinism").status, Status::failed);
}

TEST_F(ChecksTest, ImagesOutsideBallOrBoxAreFlagged) {
  EXPECT_EQ(run(honest).at("ball and box").status, Status::passed);
  const auto first = at::arange(1);
  const auto good = evaluation.adversarial.select(first);
  evaluation.adversarial.put(first, images.x.slice(0, 0, 1) + .0302 * (images.x.slice(0, 0, 1) < .5).to(at::kFloat));
  EXPECT_EQ(run(honest).at("ball and box").status, Status::failed);
  evaluation.adversarial.put(first, good);
  EXPECT_EQ(run(honest).at("ball and box").status, Status::passed);
  auto below = good.clone();
  below[0][0][0][0] = -.001;
  evaluation.adversarial.put(first, below);
  EXPECT_EQ(run(honest).at("ball and box").status, Status::failed);
}

TEST_F(ChecksTest, SavedImagesThatPredictOtherwiseAreFlagged) {
  EXPECT_EQ(run(honest).at("reload").status, Status::not_run);
  EXPECT_EQ(run(honest, evaluation.adversarial.set()).at("reload").status, Status::passed);
  EXPECT_EQ(run(honest, Images{evaluation.adversarial.all().flip(0), images.y, images.index}).at("reload").status,
            Status::failed);
}

TEST_F(ChecksTest, WeakAttackIsFlaggedByConvergence) {
  auto weak = evaluation;
  weak.contexts[0].robust = weak.contexts[0].clean_correct;
  std::swap(weak, evaluation);
  EXPECT_EQ(run(honest, {}, "full").at("convergence").status, Status::failed);
}

TEST_F(ChecksTest, NoneRunsNothingAndAnUnknownLevelIsAnError) {
  EXPECT_TRUE(run(honest, {}, "none").empty());
  EXPECT_THROW(run(honest, {}, "some"), UsageError);
}

}  // namespace
}  // namespace hpm
