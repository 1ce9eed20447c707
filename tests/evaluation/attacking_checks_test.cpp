// The checks that attack once more, and what other attacks than those by gradient found.
#include "evaluation/checks_fixture.h"

namespace hpm {
namespace {

using test::ChecksTest;
using test::kSquare;
using test::kSte;
using test::kTransfer;
using test::Spoiled;
using test::tiny_model;

using AttackingChecksTest = ChecksTest;

TEST_F(AttackingChecksTest, WhatOneSurrogateMasksAnotherMayBreak) {
  Spoiled masked(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  // The same predictions, with gradients 50 times as large.
  FunctionModel steep([&](const Tensor& x) { return 50 * model.classifier.logits(x); }, 5);
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  std::map<std::string, CheckOutcome> both, alone;
  for (auto& c : run_checks({masked, false, predict, {{"steep", &steep}}}, {images, threat}, evaluation, {}))
    both[c.name] = c;
  for (auto& c : run_checks({steep, false, predict}, {images, threat}, evaluation, {})) alone[c.name] = c;
  EXPECT_EQ(both.at("unbounded").status, alone.at("unbounded").status);
  EXPECT_EQ(both.at("unbounded").value, alone.at("unbounded").value);
  // But it is no excuse: an attack that sees nothing is flagged, and what each alone shows is said.
  EXPECT_EQ(alone.at("zero gradients").status, Status::passed);
  EXPECT_EQ(both.at("zero gradients").status, Status::failed);
  const auto& detail = both.at("zero gradients").detail;
  EXPECT_NE(detail.find("the model 100.0 % and 100.0 %; steep 2.5 %"), std::string::npos) << detail;
}

TEST_F(AttackingChecksTest, TransferAndSquareAreFlaggedAboveTheirShareOfTheImages) {
  Images many{images.x.repeat({25, 1, 1, 1}), images.y.repeat({25}), at::arange(1000)};
  Evaluation of_many;
  of_many.contexts.push_back({.context = "solo",
                              .clean_correct = at::ones({1000}, at::kBool),
                              .robust = at::zeros({1000}, at::kBool)});  // no survivors: the full checks find nothing
  auto& context = of_many.contexts.front();
  context.surrogates = {{.name = "control", .kind = SurrogateKind::transfer},
                        {.name = "query", .kind = SurrogateKind::query}};
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  const auto status = [&](const Finding& by, size_t count, const std::string& check) {
    context.broken_by.assign(1000, kSte);
    std::fill_n(context.broken_by.begin(), count, by);
    for (auto& c : run_checks({honest, false, predict}, {many, threat}, of_many, {.level = "full", .sample = 8}))
      if (c.name == check) return c.status;
    return Status::not_run;
  };
  EXPECT_EQ(status(kTransfer, 5, "transfer"), Status::passed);
  EXPECT_EQ(status(kTransfer, 6, "transfer"), Status::failed);
  EXPECT_EQ(status(kSquare, 2, "Square after white-box"), Status::passed);
  auto elsewhere = kSquare;
  elsewhere.target = "alone";
  EXPECT_EQ(status(elsewhere, 3, "Square after white-box"), Status::failed);
}

TEST_F(AttackingChecksTest, InJointTheFullOnesAttackWholeBatches) {
  const auto hpm = tiny_model(.4, at::kFloat);
  images.y = test::logits_in(hpm, "joint", images, images, 16, 2).argmax(1);
  const auto joint = test::in_context(hpm, "joint", images, 16, 2);
  test::MsaSetting setting;
  setting.contexts = {"joint"}, setting.surrogates = {"fc"}, setting.company_size = 16, setting.company_seed = 2;
  setting.settings.steps = 1;
  const auto weak = test::msa(hpm, {}, images, threat, setting);
  const auto attacked = joint->attack_model(0);
  CheckSubject subject{*attacked, true, [&](const Tensor& x, const Tensor& index) {
                         return predict_once(*joint, {x, index}, 0);
                       }};
  subject.batches = joint->batches();  // the images' numbers are their places here
  std::map<std::string, CheckOutcome> all;
  for (auto& c : run_checks(subject, {images, threat}, weak, {.level = "full"})) all[c.name] = c;
  EXPECT_EQ(all.at("convergence").status, Status::failed) << all.at("convergence").detail;
  EXPECT_NE(all.at("Square after white-box").status, Status::not_run);
  // What transfer found elsewhere and is part of the worst batch counts; its own batches are counted as such.
  auto composed = weak;
  composed.contexts[0].surrogates.push_back({.name = "base", .kind = SurrogateKind::transfer, .of = 40});
  auto own = kTransfer;
  own.target = "joint";
  composed.contexts[0].broken_by.assign(40, own);
  composed.contexts[0].broken_by[3] = kTransfer;  // aimed at solo
  composed.contexts[0].broken_by[5] = own, composed.contexts[0].broken_by[5].composed = true;
  for (auto& c : run_checks(subject, {images, threat}, composed, {})) all[c.name] = c;
  EXPECT_EQ(all.at("transfer").status, Status::failed);
  EXPECT_NEAR(*all.at("transfer").value, 100. * 2 / 40, 1e-9);
}

TEST_F(AttackingChecksTest, FullOnesAreReadBackFromTheJournal) {
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  test::TemporaryFolder folder;
  std::vector<int64_t> passes;
  std::vector<std::string> details;
  for (const bool resume : {false, true}) {
    Journal journal(folder.path, "checks", resume);
    const auto before = honest.passes();
    for (auto& c : run_checks({honest, false, predict}, {images, threat}, evaluation, {.level = "full"},
                              {silent(), WorkLog(journal)}))
      if (c.name == "convergence" || c.name == "Square after white-box") details.push_back(c.detail);
    passes.push_back((honest.passes() - before).forward);
  }
  ASSERT_EQ(details.size(), 4u);
  EXPECT_EQ(details[0], details[2]);
  EXPECT_EQ(details[1], details[3]);
  EXPECT_LT(passes[1], passes[0] / 2);
}

TEST_F(AttackingChecksTest, ConvergenceIsAShareOfTheSurvivors) {
  evaluation.contexts[0].robust = at::zeros({40}, at::kBool);
  evaluation.contexts[0].robust.slice(0, 0, 4).fill_(true);
  threat.eps = 1;  // breaks all four
  const auto check = run(honest, {}, "full").at("convergence");
  EXPECT_NE(check.detail.find("of 4 survivors"), std::string::npos) << check.detail;
  EXPECT_GE(*check.value, 50) << check.detail;
}

TEST_F(AttackingChecksTest, WhatSquareBreaksBeyondWhiteBoxIsFlagged) {
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
  const auto basic = run(honest, {}, "basic").at("Square after white-box");
  EXPECT_EQ(basic.status, Status::failed) << "it ran, and needs no further query to be judged: " << basic.detail;
  EXPECT_EQ(*basic.value, *check.value);
  // In MSA on a model with a head it is the surrogate "query".
  evaluation.contexts[0].context = "reference";
  evaluation.contexts[0].surrogates = {{.name = "query", .kind = SurrogateKind::query, .of = 40}};
  evaluation.contexts[0].broken_by.assign(40, kSte);
  evaluation.contexts[0].broken_by[7] = kSquare;
  EXPECT_NEAR(*run(honest, {}, "full").at("Square after white-box").value, 100. * 1 / 40, 1e-9);
  EXPECT_EQ(run(honest).at("Square after white-box").status, Status::failed);
  evaluation.contexts[0].surrogates[0].kind = SurrogateKind::white_box;
  EXPECT_FALSE(run(honest).contains("Square after white-box")) << "no Square ran";
  evaluation.contexts[0].surrogates[0].kind = SurrogateKind::query;
  evaluation.contexts[0].broken_by[7] = {};
  EXPECT_EQ(run(honest, {}, "full").at("Square after white-box").status, Status::passed);
}

TEST_F(AttackingChecksTest, TakeNoMorePassesThanStated) {
  for (const char* level : {"basic", "full"}) {
    const auto stated = check_passes({.level = level}, 40, 1);
    const auto before = honest.passes();
    run(honest, {}, level);
    const auto used = honest.passes() - before;
    EXPECT_LE(used.backward, stated.backward) << level;
    EXPECT_LE(used.forward, stated.forward) << level;
    EXPECT_GE(used.backward * 10, stated.backward) << level;
  }
  EXPECT_EQ(check_passes({.level = "none"}, 40, 1).forward, 0);
}

TEST_F(AttackingChecksTest, WeakAttackIsFlaggedByConvergence) {
  auto weak = evaluation;
  weak.contexts[0].robust = weak.contexts[0].clean_correct;
  std::swap(weak, evaluation);
  EXPECT_EQ(run(honest, {}, "full").at("convergence").status, Status::failed);
}

}  // namespace
}  // namespace hpm
