// What counts as broken, and who found it.
#include "evaluation/msa_fixture.h"
#include "hpm/models/network.h"

namespace hpm {
namespace {

using test::logits_in;
using test::msa;

class MsaBreaks : public test::MsaFixture {};

TEST_F(MsaBreaks, InOneContextTheMatrixSaysWhoWasAttackedAndWhatEachAttackBroke) {
  auto o = options({"solo"});
  o.surrogates = {"ste", "fc"};
  const auto result = msa(model, {}, images, threat, o);
  auto before = result.first().clean_correct, all = at::zeros({18}, at::kBool);
  for (const auto& record : result.attacks) {
    const auto broken = record.matrix.eq(2);
    const auto given = record.surrogate == "ste" ? result.first().clean_correct : before;
    EXPECT_FALSE((record.matrix.gt(0) & given.logical_not()).any().item<bool>()) << record.name;
    EXPECT_TRUE(at::equal(record.robust, before & broken.logical_not())) << record.surrogate << "/" << record.name;
    before = record.robust, all = all | broken;
  }
  EXPECT_TRUE(at::equal(result.attacks.front().matrix.gt(0), result.first().clean_correct));
  EXPECT_TRUE(at::equal(result.first().robust, result.first().clean_correct & all.logical_not()));
  EXPECT_GT(all.sum().item<int64_t>(), 0);
}

TEST_F(MsaBreaks, EveryAttackHasItsColumnOfTheMatrixInJointToo) {
  const auto result = msa(model, {}, images, threat, options({"joint", "alone"}));
  int64_t joint = 0;
  for (const auto& record : result.attacks) {
    ASSERT_TRUE(record.matrix.defined()) << record.name;
    const auto attacked = record.matrix.gt(0), broken = record.matrix.eq(2);
    const auto& context = result.contexts[record.context == "joint" ? 0 : 1];
    EXPECT_FALSE((attacked & context.clean_correct.logical_not()).any().item<bool>());
    if (record.context == "joint") {
      joint += broken.sum().item<int64_t>();
      EXPECT_TRUE(at::equal(attacked, context.clean_correct)) << "batches are attacked whole";
    }
  }
  EXPECT_GT(joint, 0);
}

TEST_F(MsaBreaks, WhatALaterContextBreaksCountsForTheFirstAndEveryImageThatStandsForABreakIsOne) {
  auto o = options({"reference", "alone", "joint"});
  o.surrogates = {"fc"}, o.joint_surrogates = {"ste", "hard"}, o.settings.steps = 1;
  threat.eps = .02;
  const auto result = msa(model, {}, images, threat, o);
  const auto& by = result.first().broken_by;
  EXPECT_GT(std::count_if(by.begin(), by.end(),
                          [](const auto& b) { return b && (b.target == "alone" || b.target == "joint"); }),
            0);
  EXPECT_EQ(std::count_if(by.begin(), by.end(),
                          [](const auto& b) { return to_string(b, "reference").ends_with(" in reference"); }),
            0);
  EXPECT_TRUE(at::equal(logits_in(model, "reference", images, result.first().adversarial.set()).argmax(1).eq(images.y),
                        result.first().robust));
}

/// In its first pass with a gradient it takes the first image for another one: what a rounding may do at a near tie.
class FalseAlarm : public Network {
 public:
  FalseAlarm(std::shared_ptr<Network> inner, Tensor other) : inner_(std::move(inner)), other_(std::move(other)) {}
  Tensor features(const Tensor& x) override {
    auto z = inner_->features(x);
    if (!x.requires_grad() || std::exchange(given_, true)) return z;
    return at::cat({other_.unsqueeze(0), z.slice(0, 1)});
  }
  std::shared_ptr<Network> fresh() const override { return inner_->fresh(); }
  torch::nn::Linear head() override { return inner_->head(); }

 private:
  std::shared_ptr<Network> inner_;
  Tensor other_;
  bool given_ = false;
};

TEST_F(MsaBreaks, AFalseAlarmDoesNotHideWhatTheAttackWentOnToFind) {
  auto o = options({"reference"});
  o.surrogates = {"ste"};
  threat.eps = .01;
  const auto plain = msa(model, {}, images, threat, o).first();
  const auto broken = (plain.clean_correct & plain.robust.logical_not()).nonzero().squeeze(1),
             held = plain.robust.nonzero().squeeze(1);
  ASSERT_GE(broken.numel(), 1);
  ASSERT_GE(held.numel(), 8) << "with an eighth of the rows broken they would leave";
  const auto victim = broken.slice(0, 0, 1);
  const auto attacked = images.select(at::cat({victim, held}));
  const auto strangers = images.y.ne(images.y[victim.item<int64_t>()]) & plain.clean_correct;
  ASSERT_TRUE(strangers.any().item<bool>());
  const auto other = model.run(images.select(strangers.nonzero().squeeze(1).slice(0, 0, 1)).x).features[0];
  HpmModel alarmed{Classifier(std::make_shared<FalseAlarm>(model.classifier.network(), other), model.classifier.info()),
                   model.head};
  const auto result = msa(alarmed, {}, attacked, threat, o);
  EXPECT_FALSE(result.first().robust[0].item<bool>()) << "APGD returned an image that breaks it";
  EXPECT_TRUE(
      at::equal(logits_in(model, "reference", images, result.first().adversarial.set()).argmax(1).eq(attacked.y),
                result.first().robust));
}

TEST_F(MsaBreaks, EveryImageThatTheMatrixCallsBrokenIsBrokenInTheOutcome) {
  const auto result = msa(model, {}, images, threat, options({"reference", "solo", "alone"}));
  for (const auto& record : result.attacks)
    for (const auto& context : result.contexts)
      if (record.context == context.context) {
        EXPECT_FALSE((record.matrix.eq(2) & context.robust).any().item<bool>()) << record.surrogate << record.name;
      }
  for (const auto& context : result.contexts) {
    EXPECT_TRUE(at::equal(logits_in(model, context.context, images, context.adversarial.set()).argmax(1).eq(images.y),
                          context.robust))
        << context.context << ": each context keeps its own images";
  }
}

}  // namespace
}  // namespace hpm
