#include "hpm/defences/observer.h"

#include "defences/hpm_fixture.h"
#include "hpm/attacks/apgd.h"
#include "hpm/attacks/square.h"
#include "hpm/defences/attacked_defence.h"

namespace hpm {
namespace {

using test::close;
using test::tiny_images;

class Observing : public test::HpmFixture {};

TEST_F(Observing, NewBreaksAreWhatAnyTargetCallsWrongAndNobodyNotedYet) {
  auto both = defence({"reference", "alone"});
  Observer observer(images(), threat, both);
  const Query query{x, at::arange(24)};
  const auto logits = both.predict_all(both.run(x), query.index, false);
  const auto wrong = logits[0].argmax(1).ne(y) | logits[1].argmax(1).ne(y);
  ASSERT_TRUE(wrong.any().item<bool>() && logits[0].argmax(1).ne(logits[1].argmax(1)).any().item<bool>());
  EXPECT_TRUE(at::equal(observer.new_breaks(query, logits).any(0), wrong));
  EXPECT_TRUE(at::equal(observer.new_breaks(query, logits)[1], logits[1].argmax(1).ne(y)));
  observer.observe(query, logits);
  EXPECT_FALSE(observer.new_breaks(query, logits).any().item<bool>());
  EXPECT_TRUE(at::equal(observer.broken(1), logits[1].argmax(1).ne(y)));
}

TEST_F(Observing, JointIsObservedInWholeBatchesAlone) {
  auto both = defence({"joint", "alone"});
  Observer observer(images(), threat, both);
  const auto pass = both.run(x);
  EXPECT_FALSE(both.predict_all(pass, at::arange(24), false)[0].defined());
  observer.observe({x, at::arange(24)}, both.predict_all(pass, at::arange(24), false));
  EXPECT_FALSE(observer.broken(0).any().item<bool>());
  const auto logits = both.predict_all(pass, at::arange(24), true);
  ASSERT_TRUE(logits[0].argmax(1).ne(y).any().item<bool>());
  observer.observe({x, at::arange(24)}, logits);
  EXPECT_TRUE(at::equal(observer.broken(0), logits[0].argmax(1).ne(y)));
}

TEST_F(Observing, KeepsTheFirstIterateThatBreaksEachImageForEveryTarget) {
  auto both = defence({"reference", "solo"});
  Observer observer(images(), threat, both);
  AttackedDefence attacked(both, 0, surrogate(both, "ste"), &observer);
  apgd(attacked, images(), threat, {.steps = 10}, RandomStreams(1));
  ASSERT_TRUE(observer.broken(0).any().item<bool>());
  for (size_t t : {0u, 1u}) {
    const auto rows = observer.broken(t).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto kept = observer.images(t).select(rows).to(at::kDouble);
    const auto logits = both.predict(both.run(kept), rows, t);
    EXPECT_TRUE(logits.argmax(1).ne(y.index_select(0, rows)).all().item<bool>()) << "target " << t;
  }
}

TEST_F(Observing, PuttingLooksOffNotesTheSame) {
  auto both = defence({"reference", "solo"});
  Observer prompt(images(), threat, both, 1), late(images(), threat, both, 8);
  for (auto* observer : {&prompt, &late}) {
    AttackedDefence attacked(both, 0, surrogate(both, "ste"), observer);
    square(attacked, images(), threat, {.queries = 60}, RandomStreams(1));
  }
  for (size_t t : {0u, 1u}) {
    EXPECT_TRUE(prompt.broken(t).any().item<bool>());
    EXPECT_TRUE(at::equal(late.broken(t), prompt.broken(t)));
    EXPECT_TRUE(at::equal(late.images(t).all(), prompt.images(t).all()));
  }
}

TEST_F(Observing, CountsNoIterateOutsideTheBallOrTheBoxAndOfABatchNoneWithOne) {
  auto both = defence({"reference", "joint"});
  Observer observer(images(), threat, both);
  const auto wrong = at::ones({2, 24}, at::kBool);
  auto far = clean.clone();
  far[0] += .2;         // outside the ball
  far[1].fill_(-1e-3);  // outside the box (and, wherever a pixel is bright, the ball)
  observer.observe({far, at::arange(24)}, wrong);
  EXPECT_EQ(observer.broken(0).sum().item<int64_t>(), 22);
  EXPECT_FALSE(observer.broken(0)[0].item<bool>() || observer.broken(0)[1].item<bool>());
  EXPECT_EQ(observer.broken(1).sum().item<int64_t>(), 0);
  observer.observe({clean, at::arange(24)}, wrong);
  EXPECT_EQ(observer.broken(1).sum().item<int64_t>(), 24);
}

TEST_F(Observing, AnUnconfirmedBreakIsForgottenAndFoundAgain) {
  auto one = defence({"reference"});
  Observer observer(images(), threat, one);
  observer.observe({clean, at::arange(24)}, at::ones({1, 24}, at::kBool));
  EXPECT_EQ(observer.broken(0).sum().item<int64_t>(), 24);
  observer.forget(0, at::arange(5));
  EXPECT_EQ(observer.broken(0).sum().item<int64_t>(), 19);
  EXPECT_FALSE(observer.finding(0, 3));
  observer.observe({clean.slice(0, 0, 2), at::arange(2)}, at::ones({1, 2}, at::kBool));
  EXPECT_EQ(observer.broken(0).sum().item<int64_t>(), 21);
}

TEST_F(Observing, KeepsWhoFoundWhatAndTakesTheImageThatStands) {
  auto both = defence({"reference", "alone"});
  Observer observer(images(), threat, both);
  EXPECT_FALSE(observer.finding(0, 3));
  const Finding first{"ste", SurrogateKind::white_box, "apgd-ce", "reference"},
      second{"fc", SurrogateKind::white_box, "apgd-t", "alone"};
  observer.begin_attack(first, 0);
  const auto rows = at::arange(2);
  const auto moved = (clean.slice(0, 0, 2) + .01).clamp(0, 1);
  auto wrong = at::zeros({2, 2}, at::kBool);
  wrong[0].fill_(true);
  observer.observe({moved, rows}, wrong);
  observer.begin_attack(second, 1);
  observer.observe({clean, at::arange(24)}, at::ones({2, 24}, at::kBool));
  EXPECT_EQ(observer.finding(0, 0), first);
  EXPECT_EQ(observer.finding(1, 0), second);
  EXPECT_EQ(observer.finding(0, 5), second);
  EXPECT_EQ(to_string(observer.finding(0, 5), "reference"), "fc/apgd-t in alone");
  EXPECT_EQ(to_string(observer.finding(0, 5), "alone"), "fc/apgd-t");
  EXPECT_TRUE(at::equal(observer.images(0).select(rows), moved.to(at::kFloat)) ||
              at::equal(observer.images(0).select(rows), moved));
}

TEST_F(Observing, OfSeveralRowsOfAnImageTheFirstThatBreaksItCounts) {
  auto one = defence({"reference"});
  Observer observer(images(), threat, one);
  const auto rows = torch::tensor({4, 7, 4, 4}, at::kLong);
  const auto moved =
      (clean.index_select(0, rows) + torch::tensor({0., .005, .01, .015}).view({4, 1, 1, 1})).clamp(0, 1);
  observer.observe({moved, rows}, torch::tensor({false, true, true, true}).unsqueeze(0));
  EXPECT_EQ(observer.broken(0).sum().item<int64_t>(), 2);
  const auto kept = observer.images(0).select(torch::tensor({4, 7}, at::kLong));
  const auto expected = moved.index_select(0, torch::tensor({2, 1}, at::kLong));
  EXPECT_LT((kept - expected).abs().max().item<double>(), 1e-6);
}

TEST(Finding, SaysWithinWhichSmallerRadiusItWasFound) {
  Finding by{"base", SurrogateKind::transfer, "apgd-ce", "solo"};
  EXPECT_EQ(to_string(by, "solo"), "base/apgd-ce");
  by.radius = .01;
  EXPECT_EQ(to_string(by, "solo"), "base/apgd-ce, eps 0.01");
  EXPECT_EQ(to_string({.target = "solo", .radius = .01}, "solo"), "eps 0.01");
}

TEST_F(Observing, ARowThatBrokeHasLeftTheAttackForEveryTarget) {
  auto both = defence({"reference", "alone"});
  Observer observer(images(), threat, both);
  observer.begin_attack({"ste", SurrogateKind::white_box, "apgd-ce", "reference"}, 0);
  const auto row = at::arange(1);
  auto first = at::zeros({2, 1}, at::kBool), second = first.clone();
  first[0].fill_(true), second[1].fill_(true);
  observer.observe({clean.slice(0, 0, 1), row}, first);
  observer.observe({clean.slice(0, 0, 1), row}, second);  // carried along in the batch: not looked at
  EXPECT_TRUE(observer.broken(0)[0].item<bool>());
  EXPECT_FALSE(observer.broken(1)[0].item<bool>());
  observer.begin_attack({"fc", SurrogateKind::white_box, "apgd-ce", "reference"}, 0);
  observer.observe({clean.slice(0, 0, 1), row}, second);
  EXPECT_TRUE(observer.broken(1)[0].item<bool>()) << "another attack looks at it again";
}

}  // namespace
}  // namespace hpm
